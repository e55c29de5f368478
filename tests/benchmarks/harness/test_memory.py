"""Checks the peak of a process and of what it has started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.harness.memory import OWN, MemoryWatch, kind_of, peak_megabytes

HOLDS = "import sys; kept = bytearray({megabytes} << 20); print('holds', flush=True); sys.stdin.read()"


@pytest.fixture
def holder():
    """Yields a function that starts a process which holds so many megabytes until it is told to end."""
    started = []

    def start(megabytes):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDS.format(megabytes=megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "holds\n"
        return process

    yield start
    for process in started:
        process.communicate()


def test_the_peak_of_a_process_is_what_it_held(holder):
    assert 50 < peak_megabytes(holder(50).pid) < 100


def test_what_a_process_has_started_counts_and_the_largest_is_taken(holder):
    with MemoryWatch(os.getpid()) as watch:
        small, large = holder(10), holder(300)
    assert kind_of_child(small) == kind_of_child(large) == OWN
    assert watch.peaks[OWN] > 300


def kind_of_child(process):
    import psutil

    return kind_of(psutil.Process(process.pid))


def test_a_process_that_has_ended_is_no_error():
    ended = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)
    with MemoryWatch(ended.pid) as watch:
        ended.communicate()
        ended.wait()
    assert OWN in watch.peaks or not watch.peaks
