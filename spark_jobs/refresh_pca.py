"""Step 2: refreshes the PCA from moments and projects what is not projected yet. See fruit_features/pca/step.py."""

from __future__ import annotations

import argparse
from dataclasses import fields

from fruit_contract import lake, release
from fruit_contract.pca import DEFAULT_KEPT_VERSIONS, PolicySettings, RefreshPolicy
from fruit_features.arguments import step_parser
from fruit_features.failure import failure_told
from fruit_features.lake.store import Store
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.spark.session import session_on_demand


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} must lie above 0 and not above 1, for example 0.95")
    return value


def parse_request(argv: list[str] | None = None) -> RefreshRequest:
    """Reads the request from the command line; ends the process if it can't be one."""
    parser = step_parser(__doc__, needs_ingest_dates=False)
    defaults = PolicySettings()
    parser.add_argument(
        "--target-variance", type=_share, default=defaults.target_variance, help="the share of the variance to keep"
    )
    parser.add_argument("--policy", type=RefreshPolicy, choices=list(RefreshPolicy), default=defaults.policy)
    parser.add_argument(
        "--margin", type=float, default=defaults.margin, help="auto: how far below the target calls for a fit"
    )
    parser.add_argument(
        "--growth", type=float, default=defaults.growth, help="auto: how many times more images call for a fit"
    )
    parser.add_argument(
        "--always-below", type=int, default=defaults.always_below, help="auto: fewer images than this are always fitted"
    )
    parser.add_argument(
        "--keep-versions",
        type=int,
        default=DEFAULT_KEPT_VERSIONS,
        help="how many versions stay, the current one among them",
    )
    parser.add_argument(
        "--switch-embedder",
        action="store_true",
        help="makes the release's embedder the one readers use, complete or not",
    )
    arguments = vars(parser.parse_args(argv))
    arguments["policy"] = PolicySettings(**{field.name: arguments.pop(field.name) for field in fields(PolicySettings)})
    arguments["ingest_dates"] = tuple(dict.fromkeys(arguments["ingest_dates"]))
    return RefreshRequest(**arguments)


def main() -> None:
    """Runs the step and leaves its summary in the lake."""
    request = parse_request()
    step = release.REFRESH_PCA_STEP
    with failure_told(request.bucket, request.run_id, step), session_on_demand(step) as session:
        summary = refresh_pca(session, request)
        Store(request.bucket).write_json(lake.step_summary_key(request.run_id, step), summary)


if __name__ == "__main__":
    main()
