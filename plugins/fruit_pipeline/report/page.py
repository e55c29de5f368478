"""Makes the report of one run, a self-contained HTML page, from its record and images.

What the page shows, and in which order, is here; how it looks is in `templates/report.html.j2`.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.lake import raw_prefix
from fruit_contract.pca import FEWEST_IMAGES_OF_A_PCA
from fruit_pipeline.html_page import render_page
from fruit_pipeline.report.record import totals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CONTENT_SECURITY_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_COUNT_TITLES: Final = {
    "listed": "Listed",
    "new": "New",
    "unchanged": "Unchanged",
    "reused": "Reused",
    "removed": "Removed",
    "featurised": "Featurised",
    "rejected": "Rejected",
}
# These are shown even when they are all zero, the others only if they are not.
_ALWAYS_SHOWN: Final = frozenset({"listed", "featurised", "rejected"})
_DRIFT_SHOWN: Final = 8


def report_page(record: Mapping[str, Any], ingest_date: str, plots: Sequence[tuple[str, str, bytes | None]]) -> str:
    """Returns the page of one ingest date in a run's record (`record.run_record`).

    `plots` are (heading, caption, PNG). In place of a plot without a PNG stands its caption, which says why.
    """
    categories = record["by_category"].get(ingest_date, {})
    counts = totals({ingest_date: categories})
    return render_page(
        "report.html.j2",
        _CONTENT_SECURITY_POLICY,
        title=ingest_date,
        record=record,
        plots=[(heading, caption, base64.b64encode(png).decode() if png else None) for heading, caption, png in plots],
        columns={name: title for name, title in _COUNT_TITLES.items() if name in _ALWAYS_SHOWN or counts[name]},
        counts=counts,
        # Categories with rejects come first, because somebody may have to look at them.
        categories=sorted(categories.items(), key=lambda row: (-row[1].get("rejected", 0), row[0])),
        reasons=sorted(record["rejected_by_reason_by_date"].get(ingest_date, {}).items()),
        rejects=[reject for reject in record["rejects"] if reject["image_key"].startswith(raw_prefix(ingest_date))],
        # Records of earlier releases say that of a single image all variance is kept.
        fewest_images=FEWEST_IMAGES_OF_A_PCA,
        drift=_drift(record["pca"]["retained_variance_by_date"] or {}, ingest_date),
        timings=[
            (step, sorted(parts.items(), key=_longest_first)) for step, parts in record["timings_seconds"].items()
        ],
    )


def _drift(shares: Mapping[str, float], ingest_date: str) -> list[tuple[str, float]]:
    """Returns the page's own date first, if its share is known, and then the last of the others."""
    own = [(day, share) for day, share in shares.items() if day == ingest_date]
    others = [(day, share) for day, share in shares.items() if day != ingest_date]
    return own + others[-(_DRIFT_SHOWN - len(own)) :]


def _longest_first(part: tuple[str, float]) -> tuple[bool, float]:
    """Returns a key that sorts parts of a step by their seconds, the longest first. The total of all comes last."""
    name, seconds = part
    return name == "total", -seconds
