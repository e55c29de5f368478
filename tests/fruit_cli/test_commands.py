"""Checks the border of the command line: what a person can get wrong is refused in one line that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING
from unittest import mock

import click
import pytest

from fruit_cli.__main__ import COMMANDS, main, program
from fruit_cli.errors import CommandError, sentence_for
from fruit_cli.lake.target import Target
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from fruit_cli.lake.connection import LakeConnection

DAY = "2026-11-22"
DELIVER = ("deliver", "--date", DAY, "--directory")


def environment_of(home: Path, variables: dict[str, str]) -> dict[str, str]:
    """Returns the environment of a person who has no AWS account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FRUITS_", "AIRFLOW"))}
    return {
        **kept,
        "FRUITS_LOCAL_HOME": str(home),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        **variables,
    }


def command(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "fruit_cli", *arguments],
        env=environment_of(home, variables), cwd=PROJECT, capture_output=True, text=True, encoding="utf-8",
        timeout=120, check=False,
    )  # fmt: skip


AWS = {"FRUITS_TARGET": "aws"}
NAMED = AWS | {"FRUITS_LAKE_BUCKET": "my-lake"}

REFUSALS: list[tuple[tuple[str, ...], dict[str, str], str]] = [
    ((*DELIVER, "~nosuchuser/x"), {}, "'~nosuchuser/x' begins with the home of a user that is not known here"),
    ((*DELIVER, "x" * 5000), {}, "File name too long"),
    (("estimate", "--images", "0"), {}, "'0' is not a whole number from 1"),
    (("estimate", "--images", "1e400"), {}, "'1e400' is not a whole number"),
    (("estimate", "--within-minutes", "nan"), {}, "'nan' is not a number of minutes above 0"),
    (("estimate", "--most-nodes", "100000000000"), {}, "give 10,000 at most"),
    (("spark_history", "--cluster", "j-ABC"), {}, "No local cloud is up. Type `make up`, or say TARGET=aws"),
    (("spark_history", "--cluster", "j-ABC", "--target", "aws"), {}, "AWS' credentials are missing"),
    (("spark_history", "--cluster", "j-ABC"), AWS | {"AWS_ACCESS_KEY_ID": "a"}, "missing: AWS_SECRET_ACCESS_KEY"),
    (
        ("spark_history", "--cluster", "j-ABC"),
        AWS | {"AWS_PROFILE": "nosuch"},
        "The config profile (nosuch) could not be found",
    ),
    (("spark_history", "--cluster", "../../x"), {}, "'../../x' is no cluster"),
    (("deploy",), {}, "There are no AWS credentials: set AWS_PROFILE"),
    (("deploy", "--dry-run"), {"FRUITS_AWS_REGION": "us-east-1"}, "Region 'us-east-1' is not inside the EU"),
    (("deploy", "--dry-run", "--zones", "9"), {}, "ZONES is '9': give 1, 2 or 3"),
    (("deploy", "--budget", "0"), {}, "0 is not in the range x>=1"),
    (("destroy",), {}, "There are no AWS credentials: set AWS_PROFILE"),
    (("destroy",), {"FRUITS_AWS_REGION": "eu-west-2"}, "Region 'eu-west-2' is not inside the EU"),
    (("run",), {}, "Give an ingest date"),
    (("run", "--date", DAY, "--pca-policy", "sometimes"), {}, "'sometimes' is not one of 'auto', 'always', 'never'"),
    (("run", "--date", DAY), AWS | {"AIRFLOW_API_URL": "https://[x", "AIRFLOW_API_TOKEN": "t"}, "names no host"),
    (("run", "--date", DAY), AWS | {"AIRFLOW_API_URL": "https://", "AIRFLOW_API_TOKEN": "t"}, "names no host"),
    (
        ("run", "--date", DAY),
        AWS | {"AIRFLOW_API_URL": "https://x", "AIRFLOW_API_TOKEN": "tökén"},
        "AIRFLOW_API_TOKEN holds what no token holds",
    ),
    (
        ("run", "--date", DAY),
        AWS | {"AIRFLOW_API_URL": "https://x", "AIRFLOW_API_TOKEN": "t", "ALL_PROXY": "socks5://127.0.0.1:1"},
        "can't be reached with the proxy settings of this shell",
    ),
    (("run", "--date", DAY), {"AIRFLOW_API_URL": "https://x", "AIRFLOW_API_TOKEN": "t"}, "No local Airflow is up"),
    (("publish",), {}, "No local cloud is up. Type `make up`, or say TARGET=aws"),
    (
        ("publish",),
        {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "FRUITS_LAKE_BUCKET": "my-lake"},
        "No local cloud is up",
    ),
    (("publish",), AWS, "FRUITS_LAKE_BUCKET is not set: a lake on AWS has no default name"),
    (("publish",), NAMED, "AWS' credentials are missing"),
    (("publish",), NAMED | {"FRUITS_LAKE_OWNER": "me"}, "FRUITS_LAKE_OWNER is 'me'"),
    (("publish",), {"FRUITS_TARGET": "gcp"}, "'gcp' is not one of 'local', 'aws'"),
    (("publish",), NAMED | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, "AWS_SECRET_ACCESS_KEY to its keys"),
    (
        ("publish",),
        NAMED | {"AWS_ENDPOINT_URL_S3": "garbage", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
        "AWS_ENDPOINT_URL_S3 is 'garbage'",
    ),
    (("publish",), AWS | {"FRUITS_LAKE_BUCKET": "../x Y"}, "'../x Y' is no bucket's name"),
    (("demo", "--days", "0"), {}, "'0' is not a whole number from 1"),
    (("demo", "--days", "1000000000"), {}, "There is no calendar for 1,000,000,000 days"),
    (("demo", "--data", "~nosuchuser/x"), {}, "begins with the home of a user"),
    (("up",), {"FRUITS_LOCAL_UI_PORT": "99999"}, "FRUITS_LOCAL_UI_PORT is '99999'"),
    (("down",), {"FRUITS_LOCAL_S3_PORT": "-1"}, "FRUITS_LOCAL_S3_PORT is '-1'"),
    (("down",), {"FRUITS_LOCAL_HOME": "/dev/null"}, "'/dev/null/stack.json': Not a directory"),
    ((), {}, "Missing command. See `python -m fruit_cli --help`."),
    (("down", "now"), {}, "Got unexpected extra argument (now) See `python -m fruit_cli down --help`."),
    (("spark_history",), {}, "Missing option '--cluster'. See `python -m fruit_cli spark_history --help`."),
    (("backfill", "--from-day", DAY), {}, "No such option '--from-day'."),
    (("run", "--date"), {}, "Option '--date' requires an argument. See `python -m fruit_cli run --help`."),
    (
        ("run", "--date", DAY, "--over-budget=1"),
        {},
        "Option '--over-budget' does not take a value. See `python -m fruit_cli run --help`.",
    ),
    (("estimate", "--images", "1\n2"), {}, "is not a whole number from 1"),
    ((*DELIVER, ""), {}, "Which folder?"),
    ((*DELIVER, "-dashes"), {}, "'-dashes'"),
    ((*DELIVER, "not UTF-8 \udcff"), {}, "not UTF-8"),
    (("tidy",), {}, "No such command 'tidy'. See `python -m fruit_cli --help`."),
]


@pytest.mark.parametrize(("arguments", "variables", "words"), REFUSALS)
def test_what_cannot_be_done_is_refused_in_one_line(
    tmp_path: Path,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with mock.patch.dict(os.environ, environment_of(tmp_path, variables), clear=True):
        exit_code = main(list(arguments))
    said = capsys.readouterr().err
    assert exit_code in {1, 2}
    assert words in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "exit_code"), [((*DELIVER, "not UTF-8 \udcff"), 1), (("tidy",), 2)])
def test_a_refusal_is_an_exit_code_and_all_that_is_said(
    tmp_path: Path, arguments: tuple[str, ...], exit_code: int
) -> None:
    done = command(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_the_help_lists_every_command_and_imports_none(tmp_path: Path) -> None:
    code = (
        "import sys; from fruit_cli.__main__ import main; main(['--help']); print('heavy:', {'numpy', 'boto3', "
        "'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True
    )
    assert all(f"  {name}  " in done.stdout for name in COMMANDS)
    assert "heavy: set()" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_commands_help_teaches_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    told = capsys.readouterr().out
    assert f"python -m fruit_cli {name}" in told
    command = program.get_command(click.Context(program), name)
    assert command
    for option in command.params:
        assert isinstance(option, click.Option)
        assert option.opts[0] in told
        assert option.help
        assert option.help.partition("  [default: ")[0].endswith(".")


@pytest.mark.parametrize(
    "text", ["-dashes", "--as-is", " two  blanks ", "$HOME `x` $$", "not UTF-8 \udcff", "a\nb", "=", "\"q'", "äpfel"]
)
def test_a_value_arrives_byte_for_byte(text: str) -> None:
    deliver = program.get_command(click.Context(program), "deliver")
    assert deliver
    for typed in ([f"--directory={text}"], ["--directory", text]):
        asked = deliver.make_context("deliver", [*typed, f"--date={DAY}"])
        assert asked.params == {"directory": text, "ingest_date": DAY, "as_is": False, "target": Target.LOCAL}


def test_variables_of_shell_completion_change_nothing(tmp_path: Path) -> None:
    done = command(tmp_path, "--help", _FRUIT_CLI_COMPLETE="bash_source", _PYTHON_M_FRUIT_CLI_COMPLETE="bash_source")
    assert done.stdout.startswith("Usage: fruit_cli")


def test_a_mistake_in_the_program_keeps_its_traceback() -> None:
    assert sentence_for(KeyError("x")) is None
    assert sentence_for(CommandError("It is Tuesday.")) == "It is Tuesday."
    assert (sentence_for(PermissionError(13, "Permission denied", "/x")) or "").startswith("'/x': Permission denied.")


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_is_not_asked_for_what_is_on_this_machine(
    tmp_path: Path, local_s3: tuple[LakeConnection, Path], fruit_folder: Path, variable: str
) -> None:
    connection, bucket = local_s3
    done = command(
        tmp_path / "home",
        *(*DELIVER, str(fruit_folder)),
        FRUITS_LOCAL_S3_URL=connection.endpoint_url or "",
        AWS_ACCESS_KEY_ID=connection.access_key_id or "",
        AWS_SECRET_ACCESS_KEY=connection.secret_access_key or "",
        NO_PROXY="",
        no_proxy="example.com",
        **{variable: "http://127.0.0.1:1"},
    )
    assert done.returncode == 0, done.stderr
    assert (bucket / "raw" / f"ingest_date={DAY}" / "_SUCCESS").exists()
