"""Runs `python -m fruit_cli <command>`. Each command is a module of fruit_cli.commands."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Final

import click

from fruit_cli.errors import sentence_for
from local_cloud.stack.ports import keep_loopback_direct

COMMANDS: Final = {
    "deliver": "Uploads a folder of categories as one image batch, its marker last.",
    "publish": "Puts jobs, library, bootstrap action and embedder into the lake.",
    "deploy": "Makes what an AWS account needs, and says first what and what it costs.",
    "destroy": "Removes what `deploy` made.",
    "run": "Runs the DAG for one ingest date, or a range on one cluster, and follows it.",
    "backfill": "Runs the DAG for a range of ingest dates, a cluster each, and follows them.",
    "estimate": "Says how many minutes and euros some numbers of images take.",
    "spark_history": "Opens Spark's own history of a cluster's steps.",
    "demo": "Runs the main job, end to end, on drawn or given images.",
    "up": "Starts the local cloud and Airflow in the background.",
    "down": "Stops what `up` started.",
}


class _Commands(click.Group):
    """Lists the commands, and imports only the module of the chosen one, because some load numpy or boto3."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # Click's own signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"fruit_cli.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="`python -m fruit_cli COMMAND --help` tells more of one. docs/settings.md has all settings (FRUITS_...).",
)
def program() -> None:
    """Delivers every day's fruit images, runs the DAG that makes features and a PCA of them, and starts a local cloud
    to try it on.

    \b
    Examples:
      python -m fruit_cli demo
      python -m fruit_cli deliver --directory ~/fruits-360/Training --date 2026-11-22
      python -m fruit_cli run --date 2026-11-22
    """


def main(argv: list[str] | None = None) -> int:
    keep_loopback_direct(os.environ)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name may hold characters that the terminal's encoding lacks, or that no encoding has.
            stream.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _run(argv)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        print(f"error: {_sentence(error, argv)}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of the output has stopped reading, as in `... | head`. Python would report that once more when it
        # flushes.
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


def _run(argv: list[str]) -> int:
    """Runs the command and returns its exit code. It does without Click's own `main`, which tells errors in several
    lines and answers to variables of shell completion.
    """
    with program.make_context("fruit_cli", list(argv)) as context:
        return int(program.invoke(context))


def _sentence(error: click.UsageError, argv: list[str]) -> str:
    """Returns one line that says what was mistyped, and how to see what can be typed."""
    program_and_command = ["fruit_cli", *(name for name in argv[:1] if name in COMMANDS)]
    return f"{' '.join(error.format_message().split())} See `python -m {' '.join(program_and_command)} --help`."


if __name__ == "__main__":
    raise SystemExit(main())
