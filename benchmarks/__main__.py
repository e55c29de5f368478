"""`python -m benchmarks [--size small|full] [--data folder] [--only part]`: measures, prints tables, saves them in
results/.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

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
from benchmarks.peers.run import DRAWN_ONE_IN, PEERS_SCALES, PeersScale, measure_peers
from benchmarks.profile.run import PROFILE_SCALES, measure_profile
from benchmarks.scale.result import sizes_with
from benchmarks.scale.run import SCALE_SIZES, measure_scale
from benchmarks.setup.run import measure_setup
from fruit_cli.errors import CommandError
from fruit_contract.lake import safe_run_id
from local_cloud.stack.java import JavaNotFoundError
from local_cloud.stack.ports import keep_loopback_direct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.harness.grid import Grid
    from benchmarks.harness.images import ImageKind
    from fruit_cli.lake.delivery_plan import PlannedImage

RESULTS: Final = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Bench:
    """Says how the benchmarks were asked for."""

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
    """Holds what a part measured: tables, and the words below them."""

    def grids(self) -> Sequence[Grid]: ...
    def notes(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Part:
    """Describes one benchmark: it calls `measure` with what `scales` holds for the size.

    `measure` gets a running lake, or, if `starts_lakes`, a folder in which it starts its own. `images` prepares the
    images that are measured, and `described` is the line about them on the page, in which "{}" stands for the images.
    `in_small` says whether a run without `--only` measures the part in size `small`, too, and `on_data` whether such a
    run measures it on a given folder, too. `takes_data` says whether the part may look at a given folder if `--only`
    names it.
    """

    measure: Callable[..., Result]
    scales: Mapping[str, Any]
    images: Callable[[Bench, Any, Path], tuple[list[PlannedImage], str]] | None = None
    described: str = "{}"
    in_small: bool = False
    on_data: bool = False
    takes_data: bool = True
    starts_lakes: bool = False


def main(argv: list[str] | None = None) -> int:
    keep_loopback_direct(os.environ)
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "--size", choices=("full", "small"), default="full", help="how much is measured (default: %(default)s)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="a folder with one folder a category, instead of drawn fruit; only what looks at images runs",
    )
    parser.add_argument(
        "--only", choices=sorted(PARTS), help="one part alone (default: all; of `small`, those that take seconds)"
    )
    parser.add_argument(
        "--scale",
        default="",
        metavar="NAME=NUMBER,...",
        help="with --only scale: other sizes than those of --size (0 leaves a part out)",
    )
    arguments = parser.parse_args(argv)
    try:
        sizes_with(SCALE_SIZES[arguments.size], arguments.scale)
    except ValueError as error:
        parser.error(str(error))
    data = arguments.data.expanduser().resolve() if arguments.data else None
    # A log file has no width: it gets enough columns for the whole table.
    bench = Bench(
        arguments.size,
        data,
        arguments.only,
        arguments.scale,
        Console(highlight=False, width=None if sys.stdout.isatty() else 160),
    )
    # On SIGTERM it ends what it has started, as it does on Ctrl-C.
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
    """Returns the names of the parts to run, in their order."""
    if only:
        return [only]
    return [
        name for name, part in PARTS.items() if (part.in_small or size == "full") and (part.on_data or not with_data)
    ]


def _measure(name: str, bench: Bench) -> None:
    """Measures one part in a temporary folder, prints the result and saves it."""
    part, load_before = PARTS[name], load()
    scale = sizes_with(SCALE_SIZES[bench.size], bench.scale) if name == "scale" else part.scales[bench.size]
    with tempfile.TemporaryDirectory(prefix="fruits-benchmark-", ignore_cleanup_errors=True) as temporary:
        home = Path(temporary) / "home"
        images, described = part.images(bench, scale, Path(temporary)) if part.images else ([], "")
        with nullcontext(home) if part.starts_lakes else bench_lake(home, usable_cores(), bench.say) as where:
            result = part.measure(where, images, scale, bench.say)
    facts = {
        "command": f"`{bench.command}`",
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
        "images": part.described.format(described, scale=scale),
        **describe_machine(),
        "load": f"{load_before:.1f} before, {load():.1f} after (the last minute's average)",
    }
    grids, notes = result.grids(), result.notes()
    for grid in grids:
        bench.console.print(grid.to_rich())
    for note in notes:
        bench.console.print(note, markup=False)
    RESULTS.mkdir(exist_ok=True)
    file_name = f"{page_name(name, bench)}.md"
    (RESULTS / file_name).write_text(
        markdown_page(f"{name.capitalize()}, {bench.size}", facts, grids, notes), encoding="utf-8"
    )
    bench.say(f"Saved as benchmarks/results/{file_name}")


def page_name(name: str, bench: Bench) -> str:
    """Returns the name of the file that a result is saved as; each data folder and each other scale has its own."""
    data = [bench.data.name] if bench.data and PARTS[name].takes_data else []
    return safe_run_id("-".join([name, bench.size, *data, *([bench.scale] if name == "scale" and bench.scale else [])]))


def _given(bench: Bench, scale: Any, temporary: Path) -> tuple[list[PlannedImage], str]:
    """Returns images of the folder that was asked for, or drawn ones if none was, and a description of them."""
    if not bench.data:
        return _drawn(bench, scale, temporary)
    bench.say(f"Preparing {scale.n_images:,} images")
    (temporary / "images").mkdir()
    images = given_images(scale.n_images, bench.data, temporary / "images", bench.say)
    return images, f"{len(images):,} images of {bench.data.name}"


def _drawn(bench: Bench, scale: Any, temporary: Path) -> tuple[list[PlannedImage], str]:
    bench.say(f"Preparing {scale.n_images:,} images")
    (temporary / "images").mkdir()
    kind: ImageKind = getattr(scale, "kind", SMALL_PICTURES)
    images = drawn_images(scale.n_images, temporary / "images", usable_cores(), kind)
    return images, f"{len(images):,} {kind.described}"


def _copies(bench: Bench, scale: PeersScale, temporary: Path) -> tuple[list[PlannedImage], str]:
    pictures, described = _drawn(bench, scale, temporary)
    copies = commented_copies(pictures, DRAWN_ONE_IN, temporary / "copies")
    words = f"{len(pictures):,} pictures, each in {DRAWN_ONE_IN} files that differ in their comment"
    return copies, f"{len(copies):,} {described.partition(' ')[2]}: {words}"


PARTS: Final = {
    "features": Part(measure_features, SCALES["features"], _given, in_small=True, on_data=True),
    "features-348": Part(measure_features, SCALES["features-348"], _given),
    "features-phone": Part(measure_features, SCALES["features-phone"], _given),
    "peers": Part(measure_peers, PEERS_SCALES, _copies, takes_data=False),
    "pca": Part(
        measure_pca,
        PCA_SCALES,
        described="none: {scale.n_images:,} synthetic feature vectors, float32[1280]",
        in_small=True,
    ),
    "engines": Part(measure_engines, ENGINE_SCALES, _given, on_data=True),
    "profile": Part(measure_profile, PROFILE_SCALES, _given, on_data=True),
    "history": Part(
        measure_history,
        HISTORY_SCALES,
        _drawn,
        "{}, on the new day; synthetic features on the days before it",
        takes_data=False,
    ),
    "latency": Part(
        measure_latency, LATENCY_SCALES, _given, "{}, on the new day; synthetic features before it", starts_lakes=True
    ),
    "scale": Part(
        measure_scale,
        SCALE_SIZES,
        described="drawn pictures, 24x24 JPEG; the engine is a digest, not a network",
        takes_data=False,
        starts_lakes=True,
    ),
    "setup": Part(
        measure_setup, {"small": None, "full": None}, described="the demo's own", takes_data=False, starts_lakes=True
    ),
}


if __name__ == "__main__":
    raise SystemExit(main())
