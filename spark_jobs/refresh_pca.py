"""Step 2: refreshes the PCA from moments and projects what is not projected yet. See fruit_features/pca/step.py."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from fruit_contract import lake, release
from fruit_contract.ingest_days import days_of_span
from fruit_contract.pca import DEFAULT_KEPT_VERSIONS, PolicySettings, RefreshPolicy
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake-bucket", dest="bucket", required=True)
    parser.add_argument("--release", dest="release_id", required=True, help="the code release whose embedder names the features to use")
    parser.add_argument("--release-folder", type=Path, help="this node's checked copy of it")
    parser.add_argument("--run-id", required=True)
    parser.add_argument(
        "--ingest-date",
        dest="ingest_dates",
        action="extend",
        default=[],
        type=days_of_span,
        help="a day of this run or a span; may be given more than once",
    )
    defaults = PolicySettings()
    parser.add_argument("--target-variance", type=_share, default=defaults.target_variance, help="the share of the variance to keep")
    parser.add_argument("--policy", type=RefreshPolicy, choices=list(RefreshPolicy), default=defaults.policy)
    parser.add_argument("--margin", type=float, default=defaults.margin, help="auto: how far below the target calls for a fit")
    parser.add_argument("--growth", type=float, default=defaults.growth, help="auto: how many times more images call for a fit")
    parser.add_argument("--always-below", type=int, default=defaults.always_below, help="auto: fewer images than this are always fitted")
    parser.add_argument(
        "--keep-versions", type=int, default=DEFAULT_KEPT_VERSIONS, help="how many versions stay, the current one among them"
    )
    parser.add_argument("--switch-embedder", action="store_true", help="makes the release's embedder the one readers use, complete or not")
    parser.add_argument("--task-slots", type=int, help="how many tasks the planned cluster runs at once")
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
