"""A benchmark's result as tables: for the terminal (rich), and for a file (Markdown). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from rich.table import Table

from benchmarks.features.measurements import summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.features.measurements import FeaturesBenchmark


@dataclass(frozen=True)
class Grid:
    """Text in rows and columns; the first column is left-aligned, the others right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_rich(self) -> Table:
        table = Table(title=self.title, title_justify="left")
        for number, name in enumerate(self.header):
            table.add_column(name, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def to_markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        lines = [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in (self.header, rule, *self.rows)]
        return f"**{self.title}**\n\n" + "\n".join(lines) + "\n"


def features_grids(result: FeaturesBenchmark) -> list[Grid]:
    """The ways side by side, every run with its stages, and the fixed costs."""
    return [_ways(result), _runs(result), _fixed_costs(result)]


def features_notes(result: FeaturesBenchmark) -> list[str]:
    agreement = result.agreement
    same = (
        f"Features of ours and of the notebook way, {agreement.n_images:,} images: mean cosine {agreement.mean_cosine:.6f}, "
        f"smallest {agreement.smallest_cosine:.6f}, largest difference {agreement.largest_difference:.1e}."
    )
    counted = (
        "Ours counts from the listing to the committed ledger. The notebook way builds its network in every partition, as the notebook "
        "does, so the number of images a partition matters: the notebook itself had 945. 'Network kept' spares it that. "
        "Of both, TensorFlow's import and the first building of the network in each worker are not counted, "
        "nothing is computed twice, and they read the files from the disk, not through the S3 server."
    )
    columns = (
        "'of ceiling' compares a run with the ceiling right before and after it: the engine at its best inference batch; 'S3 apart' is the "
        "same without the time that the S3 server took from the cores, which are another machine's on a cluster; "
        "'worker MB' is the peak of the largest Spark Python worker."
    )
    return [same, counted, columns, "benchmarks/README.md says how it is measured."]


def markdown_page(title: str, facts: Mapping[str, str], grids: Sequence[Grid], notes: Sequence[str]) -> str:
    described = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    listed = "\n".join(f"- {note}" for note in notes)
    return "\n".join([f"# {title}\n", described + "\n", *(grid.to_markdown() for grid in grids), listed + "\n"])


def _ways(result: FeaturesBenchmark) -> Grid:
    speeds = [run.images_per_second for run in result.ceilings]
    ceiling_cpu = _milliseconds(median(run.cpu_seconds_per_image for run in result.ceilings), 1)
    ceiling = (
        f"ceiling ({result.n_cores} engines)",
        str(len(speeds)),
        "",
        f"{median(speeds):.1f}",
        "100 %",
        "100 %",
        "",
        ceiling_cpu,
        "",
        "",
    )
    rows = [
        (
            way.way,
            str(way.n_runs),
            f"{way.n_images:,}",
            f"{way.images_per_second:.1f}",
            f"{100 * way.share_of_ceiling:.0f} %",
            f"{100 * way.share_with_s3_apart:.0f} %",
            f"{way.times_reference:.1f}",
            _milliseconds(way.cpu_seconds_per_image, 1),
            _milliseconds(way.s3_cpu_seconds_per_image, 2),
            _number(way.worker_megabytes, 0),
        )
        for way in summarise(result.runs, result.reference_way, result.n_cores)
    ]
    header = (
        "way",
        "runs",
        "images",
        "images/s",
        "of ceiling",
        "S3 apart",
        f"x {result.reference_way}",
        "CPU ms/image",
        "S3 CPU ms/image",
        "worker MB",
    )
    return Grid("Ways (medians)", header, [ceiling, *rows])


def _runs(result: FeaturesBenchmark) -> Grid:
    stages = list(dict.fromkeys(stage for run in result.runs for stage in run.stages if stage != "total"))
    rows = [
        (
            run.way,
            f"{run.seconds:.1f}",
            f"{run.images_per_second:.1f}",
            f"{100 * run.cores_busy(result.n_cores):.0f} %",
            f"{run.ceiling_before.images_per_second:.0f}, {run.ceiling_after.images_per_second:.0f}",
            *(_number(run.stages.get(stage), 2) for stage in stages),
        )
        for run in result.runs
    ]
    header = ("run", "seconds", "images/s", "cores busy", "ceilings", *(stage.removeprefix("write_") for stage in stages))
    return Grid("Runs in their order: the ceiling before and after, and the step's stages in seconds", header, rows)


def _fixed_costs(result: FeaturesBenchmark) -> Grid:
    costs = result.fixed_costs
    rows = [
        ("from the start of the process to a Spark session", f"{costs.session_start:.1f}"),
        (f"a day of {costs.small_day_images} images, warm", f"{costs.small_day:.1f}"),
        ("a day in which nothing is new, warm", f"{costs.nothing_new:.1f}"),
        (f"planning {costs.planned_images:,} new images on the driver, without their listing", f"{costs.planning:.1f}"),
    ]
    return Grid("Fixed costs of a features step", ("what", "s"), rows)


def _milliseconds(seconds: float, digits: int) -> str:
    return f"{1000 * seconds:.{digits}f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
