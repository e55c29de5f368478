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
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Console

from benchmarks.engines.run import ENGINE_SCALES, measure_engines
from benchmarks.features.run import SCALES, measure_features
from benchmarks.harness.bench_lake import bench_lake
from benchmarks.harness.grid import markdown_page
from benchmarks.harness.images import SMALL_PICTURES, commented_copies, drawn_images, given_images
from benchmarks.harness.machine import describe_machine, load, usable_cores
from benchmarks.history.run import HISTORY_SCALES, measure_history
from benchmarks.latency.run import LATENCY_SCALES, measure_latency
from benchmarks.pca.run import PCA_SCALES, measure_pca
from benchmarks.peers.run import DRAWN_ONE_IN, PEERS_SCALES, measure_peers
from benchmarks.profile.run import PROFILE_IMAGES, measure_profile
from benchmarks.scale.result import sizes_with
from benchmarks.scale.run import SCALE_SIZES, measure_scale
from benchmarks.setup.run import measure_setup
from fruit_cli.errors import CommandError
from fruit_contract.lake import safe_run_id
from local_cloud.stack.java import JavaNotFoundError
from local_cloud.stack.ports import keep_loopback_direct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.harness.bench_lake import BenchLake
    from benchmarks.harness.grid import Grid
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


class Result(Protocol):
    """What a part measured, for people."""

    def grids(self) -> Sequence[Grid]: ...
    def notes(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Outcome:
    """A part's result, what it was measured on, and the name of its page if that says more than the part and the size."""

    result: Result
    images: str
    name: str = ""


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
    grids, notes = outcome.result.grids(), outcome.result.notes()
    for grid in grids:
        bench.console.print(grid.to_rich())
    for note in notes:
        bench.console.print(note, markup=False)
    RESULTS.mkdir(exist_ok=True)
    name = outcome.name or safe_run_id("-".join([part, bench.size, *([bench.data.name] if bench.data and PARTS[part].on_data else [])]))
    (RESULTS / f"{name}.md").write_text(markdown_page(f"{part.capitalize()}, {bench.size}", facts, grids, notes), encoding="utf-8")
    bench.say(f"Saved as benchmarks/results/{name}.md")


def _images(
    bench: Bench, n: int, temporary: Path, kind: ImageKind = SMALL_PICTURES, *, drawn: bool = False
) -> tuple[list[PlannedImage], str]:
    """`n` images, drawn or of the folder that was asked for, and what they are."""
    folder = temporary / "images"
    folder.mkdir()
    bench.say(f"Preparing {n:,} images")
    if bench.data and not drawn:
        images, described = given_images(n, bench.data, folder, bench.say), f"images of {bench.data.name}"
    else:
        images, described = drawn_images(n, folder, usable_cores(), kind), kind.described
    return images, f"{len(images):,} {described}"


def _features(part: str, bench: Bench, temporary: Path) -> Outcome:
    scale = SCALES[part][bench.size]
    images, described = _images(bench, scale.n_images, temporary, scale.kind)
    with _lake(bench, temporary) as lake:
        return Outcome(measure_features(lake, images, scale, usable_cores(), bench.say), described)


def _peers(_: str, bench: Bench, temporary: Path) -> Outcome:
    scale = PEERS_SCALES[bench.size]
    pictures, described = _images(bench, scale.n_cold // DRAWN_ONE_IN, temporary, drawn=True)
    images = commented_copies(pictures, DRAWN_ONE_IN, temporary / "copies")
    described = (
        f"{len(images):,} drawn fruit, 100x100 JPEG: {len(pictures):,} pictures, each in {DRAWN_ONE_IN} files that differ in their comment"
    )
    with _lake(bench, temporary) as lake:
        return Outcome(measure_peers(lake, images, scale, usable_cores(), bench.say), described)


def _history(_: str, bench: Bench, temporary: Path) -> Outcome:
    scale = HISTORY_SCALES[bench.size]
    images, described = _images(bench, scale.n_images, temporary, drawn=True)
    with _lake(bench, temporary) as lake:
        result = measure_history(lake, images, scale, bench.say)
    return Outcome(result, f"{described}, on the new day; synthetic features on the days before it")


def _engines(_: str, bench: Bench, temporary: Path) -> Outcome:
    scale = ENGINE_SCALES[bench.size]
    images, described = _images(bench, scale.n_images, temporary)
    with _lake(bench, temporary) as lake:
        return Outcome(measure_engines(lake, images, scale, usable_cores(), bench.say), described)


def _profile(_: str, bench: Bench, temporary: Path) -> Outcome:
    images, described = _images(bench, PROFILE_IMAGES[bench.size], temporary)
    with _lake(bench, temporary) as lake:
        return Outcome(measure_profile(lake, images, bench.say), described)


def _pca(_: str, bench: Bench, temporary: Path) -> Outcome:
    scale = PCA_SCALES[bench.size]
    with _lake(bench, temporary) as lake:
        result = measure_pca(lake, scale, bench.say)
    return Outcome(result, f"none: {scale.n_images:,} synthetic feature vectors, float32[1280]")


def _latency(_: str, bench: Bench, temporary: Path) -> Outcome:
    scale = LATENCY_SCALES[bench.size]
    images, described = _images(bench, scale.n_images, temporary)
    result = measure_latency(temporary / "home", images, scale, usable_cores(), bench.say)
    return Outcome(result, f"{described}, on the new day; synthetic features before it")


def _scale(part: str, bench: Bench, temporary: Path) -> Outcome:
    sizes = sizes_with(SCALE_SIZES[bench.size], bench.scale)
    result = measure_scale(temporary / "home", sizes, usable_cores(), bench.say)
    name = safe_run_id("-".join([part, bench.size, *([bench.scale] if bench.scale else [])]))
    return Outcome(result, "drawn pictures, 24x24 JPEG; the engine is a digest, not a network", name)


def _setup(_: str, bench: Bench, temporary: Path) -> Outcome:
    return Outcome(measure_setup(temporary, bench.say), "the demo's own")


def _lake(bench: Bench, temporary: Path) -> AbstractContextManager[BenchLake]:
    return bench_lake(temporary / "home", usable_cores(), bench.say)


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
