"""Parses the arguments that every step takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from fruit_contract.ingest_days import days_of_span


def step_parser(description: str | None, *, needs_ingest_dates: bool) -> argparse.ArgumentParser:
    """Returns a parser of the first fields of a request: the bucket, the release, the run, its dates and its slots."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--lake-bucket", dest="bucket", required=True)
    parser.add_argument("--release", dest="release_id", required=True, help="the code release whose embedder is used")
    parser.add_argument("--release-folder", type=Path, help="this node's checked copy of it")
    parser.add_argument("--run-id", required=True)
    parser.add_argument(
        "--ingest-date",
        dest="ingest_dates",
        required=needs_ingest_dates,
        action="extend",
        default=[],
        type=days_of_span,
        help="a day of this run or a span (day..day); may be given more than once",
    )
    parser.add_argument("--task-slots", type=int, help="how many tasks the planned cluster runs at once")
    return parser
