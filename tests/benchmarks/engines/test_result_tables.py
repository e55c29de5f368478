"""The engines benchmark's tables and notes say what was measured, and which engine is the fastest."""

from __future__ import annotations

import pytest

from benchmarks.engines.result import EngineRun, EnginesBenchmark, Quality


def run(engine, inference_batch, number, images_per_second):
    return EngineRun(engine, inference_batch, number, images_per_second, 2 / images_per_second)


def benchmark(openvino=(106.0, 108.0), ours_in_fours=80.0, remarks=()):
    """Returns a result of an idle machine, on which two processes take all the CPU of its two cores."""
    runs = []
    for number in range(2):
        runs += [
            run("ONNX Runtime", 1, number, 100.0),
            run("TensorFlow", 1, number, 50.0),
            run("OpenVINO", 1, number, openvino[number]),
            run("ONNX Runtime int8", 1, number, 200.0),
            run("ONNX Runtime", 4, number, ours_in_fours),
            run("TensorFlow", 4, number, 60.0),
            run("OpenVINO", 4, number, 70.0),
        ]
    engines = ("ONNX Runtime", "TensorFlow", "OpenVINO")
    qualities = [
        *(Quality(engine, 1.0, 1e-5, 0.9, 121) for engine in engines),
        Quality("ONNX Runtime int8", 0.97, 2.2, 0.885, 119),
    ]
    load_seconds = dict.fromkeys((*engines, "ONNX Runtime int8"), 0.5)
    return EnginesBenchmark(2, "ONNX Runtime", 1, engines, runs, qualities, load_seconds, 1000, 200, 30, 128, remarks)


def rows(grid):
    return {row[0]: dict(zip(grid.header, row, strict=True)) for row in grid.rows}


def test_every_engine_stands_at_its_best_batch():
    found = rows(benchmark().grids()[0])
    assert list(found) == ["ONNX Runtime", "TensorFlow", "OpenVINO", "ONNX Runtime int8"]
    tensorflow, openvino = found["TensorFlow"], found["OpenVINO"]
    assert (tensorflow["batch"], tensorflow["images/s"], tensorflow["x ONNX Runtime at batch 1"]) == (
        "4",
        "60.0",
        "0.60",
    )
    assert (openvino["batch"], openvino["x ONNX Runtime at batch 1"], openvino["from, to"]) == (
        "1",
        "1.07",
        "1.06 to 1.08",
    )
    assert (openvino["x by CPU"], openvino["CPU ms/image"], openvino["rounds"]) == ("1.07", "18.7", "2")


def test_batches_stand_side_by_side_and_one_not_measured_is_left_empty():
    found = rows(benchmark().grids()[1])
    assert (found["TensorFlow"]["images/s, 1"], found["TensorFlow"]["x, 1"], found["TensorFlow"]["x, 4"]) == (
        "50.0",
        "0.50",
        "0.60",
    )
    assert (found["ONNX Runtime int8"]["x, 1"], found["ONNX Runtime int8"]["x, 4"]) == ("2.00", "")


def test_features_stand_beside_the_reference():
    found = rows(benchmark().grids()[2])["ONNX Runtime int8"]
    assert (found["mean cosine"], found["largest difference"], found["1-NN accuracy"], found["k for 95 %"]) == (
        "0.970000",
        "2.2e+00",
        "88.50 %",
        "119",
    )


def test_the_verdict_names_the_fastest_f32_engine_and_its_ratio():
    verdict = benchmark().notes()[0]
    assert (
        "OpenVINO is the fastest, at batch 1: 1.07 times ONNX Runtime at batch 1 (rounds: 1.06 to 1.08), 1.07 by CPU "
        "(1.06 to 1.08)." in verdict
    )
    assert verdict.endswith("TensorFlow at batch 4: 0.60 times (0.60 by CPU).")
    assert "do not agree" not in verdict


def test_the_verdict_says_when_rounds_do_not_agree():
    assert "The rounds do not agree on it." in benchmark(openvino=(130.0, 98.0)).notes()[0]


def test_the_verdict_when_the_step_has_the_fastest():
    verdict = benchmark(openvino=(90.0, 92.0)).notes()[0]
    assert "ONNX Runtime is the fastest, at batch 1, as the features step runs it. TensorFlow" in verdict
    assert verdict.endswith("OpenVINO at batch 1: 0.91 times (0.91 by CPU).")


def test_an_experiment_is_never_the_verdict_but_has_a_note_of_its_own():
    verdict, experiment = benchmark().notes()[:2]
    assert "int8" not in verdict
    assert experiment == (
        "ONNX Runtime int8 at batch 1: 2.00 times ONNX Runtime at batch 1 (rounds: 2.00 to 2.00), 2.00 by CPU (2.00 to "
        "2.00); 1-NN accuracy -1.50 points, k 119 instead of 121, mean cosine 0.9700."
    )


@pytest.mark.parametrize(
    ("ours_in_fours", "words"),
    [(80.0, ": its best here."), (120.0, ": here it is 1.20 times as fast (1.20 by CPU) at batch 4.")],
)
def test_says_whether_the_step_gives_its_engine_the_best_batch(ours_in_fours, words):
    (note,) = [
        note for note in benchmark(ours_in_fours=ours_in_fours).notes() if note.startswith("The features step runs")
    ]
    assert note == f"The features step runs ONNX Runtime at batch 1{words}"


def test_says_what_was_left_out_and_what_accuracy_is():
    notes = benchmark(remarks=["OpenVINO is not installed, its rows are left out: make bench installs it."]).notes()
    assert "OpenVINO is not installed, its rows are left out: make bench installs it." in notes
    assert any(note.startswith("Accuracy is the share of 800 images whose nearest of 200 others") for note in notes)
