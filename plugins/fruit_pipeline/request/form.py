"""Declares what a person may ask of a run: the form that Airflow's UI shows behind *Trigger*, and what `make run`
sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow.sdk import Param

from fruit_contract.pca import RefreshPolicy

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings

# This describes a line of the field for categories. An empty line is allowed and means nothing.
_CATEGORY_LINE: Final = {
    "type": "string",
    "pattern": r"^\s*$|^[\t\r]*[^._/\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*[\t\r]*$",
    # Airflow shows this text beside a line that it refuses.
    "description": "a category is called as its folder: without '/' or control characters, and not beginning with '.' "
    "or '_'",
}


def params_of_form(settings: Settings) -> dict[str, Param]:
    """Returns the fields in the order in which they are shown, with what they may hold and mean."""
    begin = f"00:00 {settings.timezone}" + (f" {settings.day_offset_hours:+g} h" if settings.day_offset_hours else "")
    return {
        "ingest_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Ingest date",
            description="The day whose image batch is processed. Leave it empty for the run's own day: that of its "
            f"logical date or, without one, of its start; a day begins at {begin}. A backfill has a run for each day "
            "that begins between its two moments: leave this empty there, and set Airflow's clock (in the menu of the "
            f"user) to {settings.timezone}, or its days may be others than you name.",
        ),
        "last_ingest_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Last ingest date",
            description="The last day of a range on one cluster, whose first day is above. Leave it empty for one day.",
        ),
        "categories": Param(
            [],
            type=["null", "array"],
            items=_CATEGORY_LINE,
            title="Categories",
            description="Only these fruit categories, one a line, as their folders are called. Empty lines don't "
            "count. A blank around a name counts if there is a category of exactly that name; otherwise the name is "
            "taken without it. Leave it empty for all of them.",
        ),
        "pca_policy": Param(
            None,
            type=["null", "string"],
            enum=[None, *(policy.value for policy in RefreshPolicy)],
            title="PCA policy",
            description="Whether the PCA is fitted anew: auto, always or never. Leave it empty for what is set: "
            f"{settings.pca_policy}.",
        ),
        "retry_rejected": Param(
            False,
            type="boolean",
            title="Retry rejected images",
            description="Looks again at images that were rejected before.",
        ),
        "accept_rejects": Param(
            False,
            type="boolean",
            title="Accept many rejected images",
            description="If an unusual share of the images is rejected for one reason, the features step stops before "
            "it writes anything. With this it goes on all the same.",
        ),
        "switch_embedder": Param(
            False,
            type="boolean",
            title="Switch to the new embedder now",
            description="After a change of weights or preprocessing, readers stay on the current PCA until everything "
            "it covers is featurised anew. With this they switch at once.",
        ),
        "over_budget": Param(
            False,
            type="boolean",
            title="Go on above the budget",
            description=f"A run whose estimate is above {settings.budget_eur:g} EUR stops before anything is started, "
            "unless this is set.",
        ),
    }
