"""`python -m benchmarks [--size small|full] [--data folder] [--only part]`: measures, prints tables, saves them in results/."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from benchmarks.engines.run import ENGINE_SCALES, measure_engines
from benchmarks.engines.table import engines_grids, engines_notes
from benchmarks.features.run import SCALES, measure_features
from benchmarks.features.table import features_grids, features_notes, markdown_page
from benchmarks.harness.bench_lake import bench_lake
from benchmarks.harness.images import SMALL_PICTURES, commented_copies, drawn_images, given_images
from benchmarks.harness.machine import describe_machine, load, usable_cores
from benchmarks.history.run import HISTORY_SCALES, measure_history
from benchmarks.history.table import history_grids, history_notes
from benchmarks.latency.run import LATENCY_SCALES, measure_latency
from benchmarks.latency.table import latency_grids, latency_notes
from benchmarks.pca.run import PCA_SCALES, measure_pca
from benchmarks.pca.table import pca_grids, pca_notes
from benchmarks.peers.run import DRAWN_ONE_IN, PEERS_SCALES, measure_peers
from benchmarks.peers.table import peers_grids, peers_notes
from benchmarks.profile.measurements import profile_grids, profile_notes
from benchmarks.profile.run import PROFILE_IMAGES, measure_profile
from benchmarks.scale.measurements import sizes_with
from benchmarks.scale.run import SCALE_SIZES, measure_scale
from benchmarks.scale.table import scale_grids, scale_notes
from benchmarks.setup.run import measure_setup
from benchmarks.setup.table import setup_grids, setup_notes
from fruit_cli.errors import CommandError
from fruit_contract.lake import safe_run_id
from local_cloud.stack.java import JavaNotFoundError
from local_cloud.stack.ports import keep_loopback_direct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.features.table import Grid
    from benchmarks.harness.images import ImageKind
    from fruit_cli.lake.delivery_plan import PlannedImage

RESULTS: Final = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Bench:
    """How the benchmarks were asked for."""

    size: str
    data: Path | None
    only: str | None
    scale: str
    console: Console
    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        self.console.print(f"{time.monotonic() - self.started:5.0f} s  {text}", markup=False, soft_wrap=True)

    @property
    def command(self) -> str:
        if self.only:
            others = [f" --data {self.data.name}"] if self.data else []
            others += [f" --scale {self.scale}"] if self.scale else []
            return f"python -m benchmarks --only {self.only} --size {self.size}" + "".join(others)
        return f"make bench SIZE={self.size}" + (f" DATA={self.data.name}" if self.data else "")


@dataclass(frozen=True)
class Outcome:
    """A part's result for people: what it was measured on, tables and notes."""

    name: str
    images: str
    grids: Sequence[Grid]
    notes: Sequence[str]


def main(argv: list[str] | None = None) -> int:
    keep_loopback_direct(os.environ)
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--size", choices=("full", "small"), default="full", help="how much is measured (default: %(default)s)")
    parser.add_argument(
        "--data", type=Path, help="a folder with one folder a category, instead of drawn fruit; only what looks at images runs"
    )
    parser.add_argument("--only", choices=sorted(PARTS), help="one part alone (default: all; of `small`, those that take seconds)")
    parser.add_argument(
        "--scale", default="", metavar="NAME=NUMBER,...", help="with --only scale: other sizes than those of --size (0 leaves a part out)"
    )
    arguments = parser.parse_args(argv)
    try:
        sizes_with(SCALE_SIZES[arguments.size], arguments.scale)
    except ValueError as error:
        parser.error(str(error))
    data = arguments.data.expanduser().resolve() if arguments.data else None
    # A log file has room for the whole table.
    bench = Bench(
        arguments.size, data, arguments.only, arguments.scale, Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    )
    # Asked to end, it ends what it has started, as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for part in chosen_parts(bench.size, bench.only, with_data=data is not None):
            _measure(part, bench)
    except (CommandError, JavaNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


def chosen_parts(size: str, only: str | None, *, with_data: bool) -> list[str]:
    """The parts to run, in their order."""
    if only:
        return [only]
    return [name for name, part in PARTS.items() if (part.in_small or size == "full") and (part.on_data or not with_data)]


def _measure(part: str, bench: Bench) -> None:
    """Measures one part in a temporary folder, prints it and saves it."""
    load_before = load()
    with tempfile.TemporaryDirectory(prefix="fruits-benchmark-", ignore_cleanup_errors=True) as temporary:
        outcome = PARTS[part].measure(part, bench, Path(temporary))
    facts = {
        "command": f"`{bench.command}`",
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
        "images": outcome.images,
        **describe_machine(),
        "load": f"{load_before:.1f} before, {load():.1f} after (the last minute's average)",
    }
    for grid in outcome.grids:
        bench.console.print(grid.to_rich())
    for note in outcome.notes:
        bench.console.print(note, markup=False)
    RESULTS.mkdir(exist_ok=True)
    page = markdown_page(f"{part.capitalize()}, {bench.size}", facts, outcome.grids, outcome.notes)
    (RESULTS / f"{outcome.name}.md").write_text(page, encoding="utf-8")
    bench.say(f"Saved as benchmarks/results/{outcome.name}.md")


def _images(bench: Bench, n: int, temporary: Path, kind: ImageKind) -> tuple[list[PlannedImage], str]:
    """`n` images, drawn or of the folder that was asked for, and what they are."""
    folder = temporary / "images"
    folder.mkdir()
    bench.say(f"Preparing {n:,} images")
    if bench.data:
        images, described = given_images(n, bench.data, folder, bench.say), f"images of {bench.data.name}"
    else:
        images, described = drawn_images(n, folder, usable_cores(), kind), kind.described
    return images, f"{len(images):,} {described}"


def _name(part: str, bench: Bench) -> str:
    return safe_run_id("-".join([part, bench.size, *([bench.data.name] if bench.data else [])]))


def _features(part: str, bench: Bench, temporary: Path) -> Outcome:
    scale, n_cores = SCALES[part][bench.size], usable_cores()
    images, described = _images(bench, scale.n_images, temporary, scale.kind)
    with bench_lake(temporary / "home", n_cores, bench.say) as lake:
        result = measure_features(lake, images, scale, n_cores, bench.say)
    return Outcome(_name(part, bench), described, features_grids(result), features_notes(result))


def _peers(part: str, bench: Bench, temporary: Path) -> Outcome:
    scale, n_cores = PEERS_SCALES[bench.size], usable_cores()
    folder = temporary / "images"
    folder.mkdir()
    n_drawn = scale.n_cold // DRAWN_ONE_IN
    bench.say(f"Preparing {scale.n_cold:,} images")
    images = commented_copies(drawn_images(n_drawn, folder, n_cores), DRAWN_ONE_IN, temporary / "copies")
    with bench_lake(temporary / "home", n_cores, bench.say) as lake:
        result = measure_peers(lake, images, scale, n_cores, bench.say)
    described = (
        f"{len(images):,} drawn fruit, 100x100 JPEG: {n_drawn:,} pictures, each in {DRAWN_ONE_IN} files that differ in their comment"
    )
    return Outcome(f"{part}-{bench.size}", described, peers_grids(result), peers_notes(result))


def _history(part: str, bench: Bench, temporary: Path) -> Outcome:
    scale, n_cores = HISTORY_SCALES[bench.size], usable_cores()
    folder = temporary / "images"
    folder.mkdir()
    images = drawn_images(scale.n_images, folder, n_cores)
    with bench_lake(temporary / "home", n_cores, bench.say) as lake:
        result = measure_history(lake, images, scale, bench.say)
    described = f"{len(images):,} drawn fruit, 100x100 JPEG, on the new day; synthetic features on the days before it"
    return Outcome(f"{part}-{bench.size}", described, history_grids(result), history_notes(result))


def _engines(part: str, bench: Bench, temporary: Path) -> Outcome:
    scale, n_cores = ENGINE_SCALES[bench.size], usable_cores()
    images, described = _images(bench, scale.n_images, temporary, SMALL_PICTURES)
    with bench_lake(temporary / "home", n_cores, bench.say) as lake:
        result = measure_engines(lake, images, scale, n_cores, bench.say)
    return Outcome(_name(part, bench), described, engines_grids(result), engines_notes(result))


def _profile(part: str, bench: Bench, temporary: Path) -> Outcome:
    images, described = _images(bench, PROFILE_IMAGES[bench.size], temporary, SMALL_PICTURES)
    with bench_lake(temporary / "home", usable_cores(), bench.say) as lake:
        result = measure_profile(lake, images, bench.say)
    return Outcome(_name(part, bench), described, profile_grids(result), profile_notes(result))


def _pca(part: str, bench: Bench, temporary: Path) -> Outcome:
    scale = PCA_SCALES[bench.size]
    with bench_lake(temporary / "home", usable_cores(), bench.say) as lake:
        result = measure_pca(lake, scale, bench.say)
    described = f"none: {scale.n_images:,} synthetic feature vectors, float32[1280]"
    return Outcome(_name(part, bench), described, pca_grids(result), pca_notes(result))


def _latency(part: str, bench: Bench, temporary: Path) -> Outcome:
    scale, n_cores = LATENCY_SCALES[bench.size], usable_cores()
    images, described = _images(bench, scale.n_images, temporary, SMALL_PICTURES)
    result = measure_latency(temporary / "home", images, scale, n_cores, bench.say)
    return Outcome(
        _name(part, bench), f"{described}, on the new day; synthetic features before it", latency_grids(result), latency_notes(result)
    )


def _scale(part: str, bench: Bench, temporary: Path) -> Outcome:
    sizes = sizes_with(SCALE_SIZES[bench.size], bench.scale)
    result = measure_scale(temporary / "home", sizes, usable_cores(), bench.say)
    name = safe_run_id("-".join([part, bench.size, *([bench.scale] if bench.scale else [])]))
    return Outcome(name, "drawn pictures, 24x24 JPEG; the engine is a digest, not a network", scale_grids(result), scale_notes(result))


def _setup(part: str, bench: Bench, temporary: Path) -> Outcome:
    result = measure_setup(temporary, bench.say)
    return Outcome(f"{part}-{bench.size}", "the demo's own", setup_grids(result), setup_notes())


@dataclass(frozen=True)
class Part:
    """One benchmark. `in_small`: a run without `--only` has it in `small`, too; `on_data`: it looks at images, so at a person's folder."""

    measure: Callable[[str, Bench, Path], Outcome]
    in_small: bool = False
    on_data: bool = False


PARTS: Final = {
    "features": Part(_features, in_small=True, on_data=True),
    "features-348": Part(_features),
    "features-phone": Part(_features),
    "peers": Part(_peers),
    "pca": Part(_pca, in_small=True),
    "engines": Part(_engines, on_data=True),
    "profile": Part(_profile, on_data=True),
    "history": Part(_history),
    "latency": Part(_latency),
    "scale": Part(_scale),
    "setup": Part(_setup),
}


if __name__ == "__main__":
    raise SystemExit(main())
