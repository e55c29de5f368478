from __future__ import annotations

from typing import TYPE_CHECKING

from local_cloud.cluster.logs import LastWords, last_words, log_address

if TYPE_CHECKING:
    from pathlib import Path


def test_names_the_error_of_a_python_job_though_it_stands_in_stdout(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_text(
        'Traceback (most recent call last):\n  File "job.py", line 1\nValueError: no such date\n'
    )
    (tmp_path / "stderr").write_text("26/11/22 08:34:41 INFO ShutdownHookManager: Deleting directory /tmp/x\n")
    assert last_words(tmp_path) == LastWords("ValueError: no such date", "stdout")


def test_names_the_java_exception_and_not_its_frames(tmp_path: Path) -> None:
    (tmp_path / "stderr").write_text(
        'Exception in thread "main" java.nio.file.InvalidPathException: Malformed input\n\tat '
        "sun.nio.fs.UnixPath.encode(UnixPath:145)\n"
    )
    (tmp_path / "stdout").write_text("")
    assert last_words(tmp_path).line == 'Exception in thread "main" java.nio.file.InvalidPathException: Malformed input'


def test_falls_back_to_the_last_line_that_says_something(tmp_path: Path) -> None:
    (tmp_path / "stderr").write_text("cannot open shared object\n26/11/22 08:34:41 INFO SparkContext: stopped\n")
    assert last_words(tmp_path) == LastWords("cannot open shared object", "stderr")


def test_is_empty_for_a_command_that_wrote_nothing(tmp_path: Path) -> None:
    assert last_words(tmp_path) == LastWords()


def test_reads_only_the_end_of_a_huge_log(tmp_path: Path) -> None:
    (tmp_path / "stderr").write_text("x" * 5_000_000 + "\nKeyError: 'last'\n")
    assert last_words(tmp_path).line == "KeyError: 'last'"


def test_a_log_has_the_address_emr_gives_it() -> None:
    assert log_address("s3n://lake/logs/", "j-1/steps/s-1", "stderr") == "s3://lake/logs/j-1/steps/s-1/stderr.gz"
    assert log_address(None, "j-1/steps/s-1", "stderr") is None
