"""`python -m fruit_cli <command>`: each command is a module of fruit_cli.commands."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Final

from fruit_cli.arguments import OneLineParser
from fruit_cli.errors import sentence_for
from local_cloud.stack.ports import keep_loopback_direct

COMMANDS: Final = {
    "deliver": "uploads a folder of categories as one image batch, marker last",
    "publish": "puts jobs, library, bootstrap action and embedder under code/<release>/ of the lake",
    "run": "runs the DAG for one ingest date, or a range on one cluster, and follows it",
    "backfill": "runs the DAG for a range of ingest dates on whatever is up, and follows it",
    "estimate": "minutes and euros of some numbers of images",
    "spark_history": "Spark's own history of a cluster's steps",
    "demo": "the main job, end to end, on drawn or given images",
    "up": "starts the local cloud and Airflow in the background",
    "down": "stops what `up` started",
}


def main(argv: list[str] | None = None) -> int:
    keep_loopback_direct(os.environ)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name may hold what the terminal's encoding, or any, does not.
            stream.reconfigure(errors="backslashreplace")
    parser = OneLineParser(prog="fruit_cli", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        subparser.set_defaults(module=name)
    # Only the chosen command's module is imported: some load numpy or boto3.
    argv = sys.argv[1:] if argv is None else argv
    chosen = next((argument for argument in argv if argument in COMMANDS), None)
    if chosen:
        module = importlib.import_module(f"fruit_cli.commands.{chosen}")
        module.add_arguments(subparsers.choices[chosen])
    try:
        arguments = parser.parse_args(argv)
        return int(module.run(arguments))
    except BrokenPipeError:
        # Who read the output has enough of it, as in `... | head`. Python would say so once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        sentence = sentence_for(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
