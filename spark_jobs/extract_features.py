"""Step 1: turns the new images of some ingest dates into feature vectors. See fruit_features/extraction/step.py."""

from __future__ import annotations

from fruit_contract import lake, release
from fruit_features.arguments import step_parser
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.failure import failure_told
from fruit_features.lake.store import Store
from fruit_features.spark.session import session_on_demand


def parse_request(argv: list[str] | None = None) -> ExtractionRequest:
    """Reads the request from the command line; ends the process if it can't be one."""
    parser = step_parser(__doc__, needs_ingest_dates=True)
    parser.add_argument(
        "--category",
        dest="categories",
        action="append",
        default=[],
        type=lake.check_category,
        help="only this one; may be given more than once",
    )
    parser.add_argument("--engine", type=release.engine_named, choices=release.ENGINES, default=release.DEFAULT_ENGINE)
    parser.add_argument("--retry-rejected", action="store_true", help="looks again at images that were rejected before")
    parser.add_argument(
        "--accept-rejects", action="store_true", help="goes on although an unusual share of the images is rejected"
    )
    arguments = vars(parser.parse_args(argv))
    for name in ("ingest_dates", "categories"):
        arguments[name] = tuple(dict.fromkeys(arguments[name]))
    return ExtractionRequest(**arguments)


def main() -> None:
    """Runs the step and leaves its summary in the lake."""
    request = parse_request()
    step = release.EXTRACT_FEATURES_STEP
    with failure_told(request.bucket, request.run_id, step), session_on_demand(step) as session:
        summary = extract_features(session(), request)
        Store(request.bucket).write_json(lake.step_summary_key(request.run_id, step), summary)


if __name__ == "__main__":
    main()
