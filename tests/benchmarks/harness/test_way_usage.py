"""Checks the CPU and memory of a way's processes, whatever becomes of them."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from benchmarks.harness.way_usage import ProcessUsage, UsageMeter, held_kilobytes, lost_cpu_seconds, parse_memory

ROOT, RAYLET, WORKER = 1, 2, 3


def process(parent, own, reaped=0.0, **memory):
    return ProcessUsage(parent, own, reaped, **memory)


def test_a_process_that_its_parent_waited_for_is_counted_there():
    before = {ROOT: process(0, 1.0), WORKER: process(ROOT, 5.0)}
    after = {ROOT: process(0, 1.0, reaped=5.5)}
    assert lost_cpu_seconds(before, after) == 0


def test_a_process_that_nobody_waited_for_is_lost():
    before = {ROOT: process(0, 1.0), RAYLET: process(ROOT, 2.0), WORKER: process(RAYLET, 5.0, reaped=0.5)}
    after = {ROOT: process(0, 1.0), RAYLET: process(ROOT, 2.0)}
    assert lost_cpu_seconds(before, after) == 5.5


def test_what_ends_with_its_parent_goes_to_the_one_above():
    before = {ROOT: process(0, 1.0), RAYLET: process(ROOT, 2.0), WORKER: process(RAYLET, 5.0)}
    assert lost_cpu_seconds(before, {ROOT: process(0, 1.0, reaped=2.0)}) == 5.0
    assert lost_cpu_seconds(before, {ROOT: process(0, 1.0, reaped=7.0)}) == 0


def test_what_has_only_started_loses_nothing():
    assert lost_cpu_seconds({}, {ROOT: process(0, 1.0), WORKER: process(ROOT, 5.0)}) == 0


def test_shared_memory_is_held_once():
    snapshot = {ROOT: process(0, 0, private=100, shared=30), WORKER: process(ROOT, 0, private=50, shared=80)}
    assert held_kilobytes(snapshot) == 230
    assert held_kilobytes({}) == 0


def test_reads_what_the_kernel_says():
    assert parse_memory("Name:\tpython\nRssAnon:\t  512 kB\nRssFile:\t  100 kB\nRssShmem:\t  64 kB\n") == (512, 64)
    assert parse_memory("Name:\tzombie\n") == (0, 0)


@pytest.mark.slow
def test_meters_a_process_and_its_child_until_they_are_gone():
    busy = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"
    child = f"{sys.executable!r}, '-c', {busy.format(seconds=0.3)!r}"
    program = f"import subprocess, sys\nsubprocess.run([{child}])\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        with UsageMeter(started.pid) as meter:
            started.stdout.readline()
            first, second = meter.take(), meter.take()
        started.stdin.close()
    assert first.cpu_seconds >= 0.3
    assert second.cpu_seconds < 0.3
    if psutil.LINUX:
        assert first.peak_megabytes > 1
