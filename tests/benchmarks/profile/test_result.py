"""Checks a worker's samples by what it does, and the CPU by process."""

from __future__ import annotations

from benchmarks.profile import result
from benchmarks.profile.result import OTHER, Profile, layers_of
from local_cloud.project import PROJECT

WORKER = (
    "main (worker.py:1247);compute (fruit_features/extraction/step.py:127);featurise "
    "(fruit_features/embedding/featurise.py:93)"
)
DECODING = (
    f"{WORKER};_read (fruit_features/embedding/featurise.py:118);decode (fruit_features/embedding/isolation.py:54);"
    "decode_encoded (fruit_features/embedding/preprocessing.py:165)"
)


def test_a_sample_counts_for_the_innermost_thing_it_is_in():
    stacks = {
        f"{WORKER};embed (fruit_features/embedding/engines.py:63);run (onnxruntime/capi/x.py:1)": 80,
        f"{DECODING};_decode (fruit_features/embedding/preprocessing.py:118);load (PIL/ImageFile.py:425)": 5,
        f"{DECODING};_decode (fruit_features/embedding/preprocessing.py:120);"
        "resize (fruit_features/embedding/resizing.py:36);by_code (fruit_features/embedding/resizing.py:75)": 9,
        "run (threading.py:982);_worker (concurrent/futures/thread.py:83);_get "
        "(fruit_features/embedding/fetching.py:75)": 4,
        "main (worker.py:1247);dump_stream (serializers.py:103)": 2,
    }
    assert layers_of(stacks) == {"the network": 80, "resizing": 9, "decoding": 5, "fetching": 4, OTHER: 2}


def test_the_functions_that_stand_for_the_layers_are_still_there():
    for _, named in result.LAYERS:
        function, _, file = named.rpartition("(")
        path = PROJECT / "spark_jobs" / file
        assert not function or f"def {function.strip()}(" in path.read_text(encoding="utf-8"), named


def test_threads_that_wait_are_left_out():
    assert layers_of({"run (threading.py:982);_worker (concurrent/futures/thread.py:81)": 500, WORKER: 1}) == {
        "rows, hashes and Arrow": 1
    }


def test_tables_say_milliseconds_an_image_and_shares():
    cpu, samples = Profile(1000, 4.0, {"Java": 0.5}, {"the network": 3, "decoding": 1}).grids()
    assert list(cpu.rows) == [("Java", "0.50")]
    assert list(samples.rows) == [("the network", "75.0 %"), ("decoding", "25.0 %")]
