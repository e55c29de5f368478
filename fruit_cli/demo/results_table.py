"""Shows the results of a series of runs as a table: a row for each date, what was rejected and why, and the sums."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fruit_cli.demo.run_results import DateResult


def results_table(results: Sequence[DateResult]) -> Table:
    """Returns a table with a row for each date, and a last row with the sums of what can be summed."""
    table = Table(title="Results", show_footer=True)
    rejects = Counter(reason for result in results for reason in result.rejects.values())
    minutes = [result.cluster_minutes for result in results if result.cluster_minutes is not None]
    table.add_column("ingest date", footer="all", no_wrap=True)
    table.add_column("listed", no_wrap=True, footer=f"{sum(result.listed for result in results):,}", justify="right")
    table.add_column(
        "featurised", no_wrap=True, footer=f"{sum(result.featurised for result in results):,}", justify="right"
    )
    table.add_column("rejected", footer=_counted(rejects), justify="right")
    table.add_column("k", justify="right")
    table.add_column("variance kept", justify="right")
    table.add_column("images/s", justify="right")
    table.add_column("cluster minutes", footer=f"{sum(minutes):.1f}" if minutes else "", justify="right")
    for result in results:
        table.add_row(
            result.ingest_date,
            f"{result.listed:,}",
            f"{result.featurised:,}",
            _counted(Counter(result.rejects.values())),
            "-" if result.k is None else str(result.k),
            _variance(result),
            _number(result.images_per_second),
            _number(result.cluster_minutes),
        )
    return table


def _variance(result: DateResult) -> str:
    if result.variance_kept is None:
        return "-"
    return f"{100 * result.variance_kept:.2f} %" + ("" if result.target_reached else " (below target)")


def _counted(reasons: Counter[str]) -> str:
    """Returns how many were rejected, with the reasons: `2 (1 not_an_image, 1 truncated)`."""
    return f"{reasons.total():,}" + (
        f" ({_listed(f'{count} {reason}' for reason, count in sorted(reasons.items()))})" if reasons else ""
    )


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
