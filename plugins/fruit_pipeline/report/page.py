"""The report of one run as a self-contained HTML page. Pure: a record and images in, text out.

Whatever came from outside (categories, keys, decoder messages, run ids) is escaped, and the page forbids scripts.
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.lake import raw_prefix
from fruit_pipeline.html_page import html_page, tiles
from fruit_pipeline.report.record import totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_COUNT_TITLES: Final = {
    "listed": "Listed",
    "new": "New",
    "unchanged": "Unchanged",
    "reused": "Reused",
    "removed": "Removed",
    "featurised": "Featurised",
    "rejected": "Rejected",
}
_DRIFT_SHOWN: Final = 8
# Shown even when they are all zero; the others only where something is to tell.
_ALWAYS_SHOWN: Final = frozenset({"listed", "featurised", "rejected"})


def report_page(record: Mapping[str, Any], ingest_date: str, plots: Sequence[tuple[str, str, bytes]]) -> str:
    """The page of one ingest date in a run's record (`run_record.run_record`). `plots` are (title, caption, PNG)."""
    categories = record["by_category"].get(ingest_date, {})
    counts = totals({ingest_date: categories})
    body = [
        *_heading(record, ingest_date),
        _tiles(record, counts),
        *(_figure(*plot) for plot in plots),
        *_categories(categories, counts),
        *_rejects(record, ingest_date, counts["rejected"]),
        *_facts(record),
    ]
    return html_page(ingest_date, body, "default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def _heading(record: Mapping[str, Any], ingest_date: str) -> list[str]:
    checks = record["checks"]
    passed = not checks.get("problems")
    verdict = f"Output checked: {checks.get('images_in_ledger', 0):,} ledger lines, {checks.get('partitions', 0):,} partitions, "
    verdict += "no problems." if passed else f"{len(checks['problems']):,} problems."
    names = f"Run {record['run_id']}, release {record['release']}, embedder {record['embedder_id']}."
    n_dates = len(record["ingest_dates"])
    together = f" One of {n_dates:,} dates that the run worked on; the facts at the end are of all of them." if n_dates > 1 else ""
    limited = f" Limited to {', '.join(record['categories'])}." if record["categories"] else ""
    return [
        f"<h1>Image batch of {escape(ingest_date)}</h1>",
        f'<p class="muted">{escape(names + limited + together)}</p>',
        f'<p class="{"good" if passed else "bad"}">{escape(verdict)}</p>',
    ]


def _tiles(record: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    pca = record["pca"]
    facts = [
        (_number(counts["listed"]), "images listed"),
        (_number(counts["featurised"]), "featurised"),
        (_number(counts["rejected"]), "rejected"),
        (_number(pca.get("k")), "components (k)"),
        (_percent(pca.get("variance_kept")), "variance kept"),
        (_number(record.get("images_per_second"), 1), "images a second"),
        (_number(record["cluster"].get("minutes"), 1), "cluster minutes"),
    ]
    return tiles(facts)


def _figure(title: str, caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode("ascii")
    return (
        f"<h2>{escape(title)}</h2>"
        f'<figure><div class="scroll"><img alt="{escape(title)}. {escape(caption)}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _categories(categories: Mapping[str, Mapping[str, int]], totals_of_date: Mapping[str, int]) -> list[str]:
    # Rejects first: they are what somebody may have to look at.
    rows = sorted(categories.items(), key=lambda row: (-row[1].get("rejected", 0), row[0]))
    shown = [name for name in _COUNT_TITLES if name in _ALWAYS_SHOWN or any(counts.get(name) for _, counts in rows)]
    body = [_row([category], [_number(counts.get(name, 0)) for name in shown]) for category, counts in rows]
    foot = "".join(f'<td class="number">{_number(totals_of_date[name])}</td>' for name in shown)
    return [
        "<h2>Images by category</h2>",
        '<div class="scroll tall"><table><thead><tr>',
        '<th scope="col">Category</th>',
        *(f'<th scope="col" class="number">{escape(_COUNT_TITLES[name])}</th>' for name in shown),
        "</tr></thead><tbody>",
        *body,
        f'</tbody><tfoot><tr><th scope="row">All {len(rows):,}</th>{foot}</tr></tfoot></table></div>',
    ]


def _rejects(record: Mapping[str, Any], ingest_date: str, total: int) -> list[str]:
    if not total:
        return ["<h2>Rejected images</h2>", "<p>None.</p>"]
    reasons = _join(f"{reason}: {count:,}" for reason, count in sorted(record["rejected_by_reason_by_date"].get(ingest_date, {}).items()))
    rejects = [reject for reject in record["rejects"] if str(reject["image_key"]).startswith(raw_prefix(ingest_date))]
    if not rejects:
        return ["<h2>Rejected images</h2>", f"<p>{total:,} rejected ({reasons}): see rejected/.</p>"]
    first = f" The first {len(rejects):,} of them:" if len(rejects) < total else ""
    rows = (
        f'<tr><td class="key">{escape(str(reject["image_key"]))}</td>'
        f"<td>{escape(str(reject['reason']))}</td><td>{escape(str(reject.get('detail') or ''))}</td></tr>"
        for reject in rejects
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in ("Image", "Reason", "Detail"))
    return [
        "<h2>Rejected images</h2>",
        f"<p>{total:,} rejected ({reasons}).{first}</p>",
        f'<div class="scroll tall"><table><thead><tr>{head}</tr></thead><tbody>',
        *rows,
        "</tbody></table></div>",
    ]


def _facts(record: Mapping[str, Any]) -> list[str]:
    pca, plan, cluster = record["pca"], record["plan"], record["cluster"]
    estimate = plan["estimate"]
    return [
        "<h2>Facts of the run</h2>",
        '<div class="facts">',
        _fact_table(
            "PCA",
            [
                ("Version", pca.get("pca_version")),
                ("This run", f"{pca.get('action')}: {pca.get('reason')}"),
                ("Images behind it", _number(pca.get("n_samples_fitted") or pca.get("n_samples"))),
                ("Images now", _number(pca.get("n_samples"))),
                ("Target", _percent(pca.get("target_variance"))),
                ("Kept", _percent(pca.get("variance_kept"), 3)),
                ("Kept of all images now", _percent(pca.get("retained_variance"), 3)),
                *(
                    (f"Kept of {day} alone", _percent(share, 3))
                    for day, share in list((pca.get("retained_variance_by_date") or {}).items())[-_DRIFT_SHOWN:]
                ),
                ("Target reached", {True: "yes", False: "no: too few images"}.get(pca.get("target_reached"), "not known")),
            ],
        ),
        _fact_table(
            "Plan and outcome",
            [
                (
                    "Planned",
                    f"{plan['new']:,} new of {plan['images']:,} images, {estimate['minutes']:.0f} min, {_euros(estimate['euros'])}",
                ),
                *_foreseen(plan),
                ("Cluster", cluster.get("id")),
                ("Cluster minutes", _number(cluster.get("minutes"), 1)),
                ("Engine", record.get("engine")),
                ("Objects left alone", _number(plan["n_strays"])),
            ],
        ),
        *([_receipt(record["receipt"])] if record.get("receipt") else []),
        *(
            _fact_table(f"Seconds of {step}", [(part, _number(value, 1)) for part, value in sorted(parts.items(), key=_total_last)])
            for step, parts in record["timings_seconds"].items()
        ),
        "</div>",
    ]


def _foreseen(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Only where there is something to tell: a new PCA, or a change of the embedder that is under way."""
    refit, migration = plan.get("refit"), plan.get("migration")
    facts = [("New PCA foreseen", str(refit["reason"]))] if refit else []
    if migration:
        left = f"{migration['images']:,} images of {migration['n_ingest_dates']:,} dates, when this was planned"
        facts.append(("Features of the former embedder alone", left))
    return facts


def _receipt(receipt: Mapping[str, Any]) -> str:
    planned, measured = receipt["planned"], receipt["measured_speed"]
    per_thousand, planned_per_thousand = receipt["euros_per_thousand_images"], planned["euros_per_thousand_images"]
    hours = ((f"Hours of {row['market']} {row['instance_type']}", _number(row["hours"], 2)) for row in receipt["instance_hours"])
    return _fact_table(
        "Receipt",
        [
            ("Clusters", ", ".join(receipt["clusters"]) or None),
            ("Minutes", f"{_number(receipt['cluster_minutes'], 1)}, planned {_number(planned['minutes'], 1)}"),
            ("Euros", f"{_euros(receipt['euros'])}, planned {_euros(planned['euros'])}"),
            ("Euros for 1,000 images", f"{_number(per_thousand, 4)}, planned {_number(planned_per_thousand, 4)}"),
            *hours,
            ("Images a second a vCPU", _number(measured["images_per_second_per_vcpu"], 1) if measured else "not measured"),
            ("Planned with", f"{_number(planned['images_per_second_per_vcpu'], 1)}, {planned['speed']}"),
            *([("Not ended when read", ", ".join(receipt["still_running"]))] if receipt["still_running"] else []),
        ],
    )


def _fact_table(title: str, facts: Iterable[tuple[str, object]]) -> str:
    rows = "".join(_row([name], [str(value if value is not None else "none")]) for name, value in facts)
    return f'<section><h3>{escape(title)}</h3><div class="scroll"><table><tbody>{rows}</tbody></table></div></section>'


def _total_last(part: tuple[str, float]) -> tuple[bool, float]:
    """The longest first."""
    return part[0] == "total", -part[1]


def _row(names: Sequence[str], values: Sequence[str]) -> str:
    cells = [f'<th scope="row">{escape(name)}</th>' for name in names]
    cells += [f'<td class="number">{escape(value)}</td>' for value in values]
    return f"<tr>{''.join(cells)}</tr>"


def _number(value: float | None, decimals: int = 0) -> str:
    return "none" if value is None else f"{value:,.{decimals}f}"


def _euros(value: float | None) -> str:
    return "price not known" if value is None else f"{value:.2f} EUR"


def _percent(share: float | None, decimals: int = 2) -> str:
    return "none" if share is None else f"{share:.{decimals}%}"


def _join(words: Iterable[object]) -> str:
    return ", ".join(escape(str(word)) for word in words)
