"""`python -m benchmarks [--size small|full] [--data folder]`: measures, prints the tables, and saves them in benchmarks/results/."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from benchmarks.bench_lake import bench_lake
from benchmarks.features_run import SCALES, measure_features
from benchmarks.images import drawn_images, given_images
from benchmarks.machine import describe_machine, load, usable_cores
from benchmarks.table import features_grids, markdown_page
from fruit_cli.errors import CommandError
from fruit_contract.lake import safe_run_id
from local_cloud.java import JavaNotFoundError

if TYPE_CHECKING:
    from benchmarks.measurements import Agreement

RESULTS: Final = Path(__file__).resolve().parent / "results"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--size", choices=sorted(SCALES), default="full", help="how many images (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="a folder with one folder a category, instead of drawn fruit")
    arguments = parser.parse_args(argv)
    # A log file has room for the whole table.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    # Asked to end, it ends what it has started, as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _features(arguments.size, arguments.data.expanduser().resolve() if arguments.data else None, console)
    except (CommandError, JavaNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


def _features(size: str, data: Path | None, console: Console) -> None:
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"{time.monotonic() - started:5.0f} s  {text}", markup=False, soft_wrap=True)

    load_before = load()
    scale, n_cores = SCALES[size], usable_cores()
    with tempfile.TemporaryDirectory(prefix="fruits-benchmark-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / "images"
        folder.mkdir()
        say(f"Preparing {scale.n_images:,} images")
        images = given_images(scale.n_images, data, folder, say) if data else drawn_images(scale.n_images, folder, n_cores)
        with bench_lake(Path(temporary) / "home", n_cores, say) as bench:
            result = measure_features(bench, images, scale, n_cores, say)
    grids = features_grids(result)
    for grid in grids:
        console.print(grid.to_rich())
    sizes = f"{len(images):,} {'images of ' + data.name if data else 'drawn fruit, 100x100 JPEG'}"
    command = f"make bench SIZE={size}" + (f" DATA={data.name}" if data else "")
    facts = {
        "command": f"`{command}`",
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
        "images": sizes,
        **describe_machine(),
        "load": f"{load_before:.1f} before, {load():.1f} after (the last minute's average)",
    }
    name = safe_run_id("-".join(["features", size, *([data.name] if data else [])]))
    notes = _notes(result.agreement)
    for note in notes:
        console.print(note, markup=False)
    RESULTS.mkdir(exist_ok=True)
    page = markdown_page(f"Features, {size}", facts, grids, notes)
    (RESULTS / f"{name}.md").write_text(page, encoding="utf-8")
    say(f"Saved as benchmarks/results/{name}.md")


def _notes(agreement: Agreement) -> list[str]:
    same = (
        f"Features of ours and of the notebook way, {agreement.n_images:,} images: mean cosine {agreement.mean_cosine:.6f}, "
        f"largest difference {agreement.largest_difference:.1e}."
    )
    counted = (
        "Ours counts from the listing to the committed ledger. Of the notebook way, TensorFlow's import and the building of its network "
        "are not counted, nothing is computed twice, and it reads the files from the disk, not through the S3 server."
    )
    columns = (
        "'of ceiling' compares a run with the ceiling right before and after it; "
        "'worker MB' is the peak of the largest Spark Python worker."
    )
    return [same, counted, columns, "benchmarks/README.md says how it is measured."]


if __name__ == "__main__":
    raise SystemExit(main())
