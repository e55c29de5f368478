"""The PCA benchmark's tables say what was measured."""

from __future__ import annotations

from benchmarks.pca.result import OURS, SPARK_ML, PcaAgreement, PcaBenchmark, PcaRun


def benchmark(spark_ml_seconds=24.0, written=2e-8):
    runs = []
    for number, factor in enumerate((3, 1, 1)):
        runs.append(PcaRun("node's", OURS, number, 2.0 * factor, 3.0, {"moments": 1.0, "fit": 0.5}))
        runs.append(PcaRun("node's", SPARK_ML, number, spark_ml_seconds * factor, 30.0, {"read": 1.0, "pca_fit": 20.0}))
    runs.append(PcaRun("cluster's", OURS, 1, 2.0, 3.0, {"moments": 0.9, "fit": 0.4}))
    runs.append(PcaRun("cluster's", SPARK_ML, 1, 10.0, 12.0, {"read": 0.8, "pca_fit": 6.0}))
    agreement = PcaAgreement(500, 20_000, 1e-15, 2e-12, 3e-13, written)
    return PcaBenchmark(20_000, 4, 4, 530, runs, agreement, {"read": 0.2, "moments": 0.8, "fit": 0.3})


def rows(grid):
    return [dict(zip(grid.header, row, strict=True)) for row in grid.rows]


def test_both_ways_stand_side_by_side():
    ours, spark_ml, *_ = rows(benchmark().grids()[0])
    assert (ours["way"], ours["s"], ours["x ours"], ours["warm runs"], ours["cold s"]) == (
        "ours",
        "2.00",
        "1.0",
        "2",
        "6.0",
    )
    assert (spark_ml["way"], spark_ml["s"], spark_ml["x ours"], spark_ml["CPU x"]) == (
        "pyspark.ml",
        "24.00",
        "12.0",
        "10.0",
    )


def test_the_title_says_on_what():
    title = benchmark().grids()[0].title
    assert "20,000 x 1280 features in 4 dates and 4 categories to 530 components" in title


def test_a_setting_of_java_without_a_cold_run_leaves_it_empty():
    assert [row["cold s"] for row in rows(benchmark().grids()[0])] == ["6.0", "72.0", "", ""]


def test_stages_stand_by_the_setting_of_java_and_without_spark():
    stages = {row[0]: row[1:] for row in benchmark().grids()[1].rows}
    assert stages["ours: moments"] == ("1.00", "0.90", "0.80")
    assert stages["ours: read"] == ("", "", "0.20")
    assert stages["pyspark.ml: pca fit"] == ("20.00", "6.00", "")


def test_every_round_shows_its_own_ratio():
    found = [(row["round"], row["Java"], row["x"]) for row in rows(benchmark().grids()[2])]
    assert found == [
        ("cold", "node's", "12.0"),
        ("1", "node's", "12.0"),
        ("2", "node's", "12.0"),
        ("1", "cluster's", "5.0"),
    ]


def test_differences_are_shown_with_what_they_are_of():
    differences: dict[str, str] = dict(benchmark().grids()[3].rows)
    assert differences["components, up to sign"] == "2.0e-12"
    assert differences["projections of 20,000 images as written, in float32, up to sign"] == "2.0e-08"


def test_the_verdicts_say_whether_it_is_ten_times_as_fast():
    node, cluster, *_ = benchmark().notes()
    assert "node's: pyspark.ml takes 12.0 times as long as ours" in node
    assert node.endswith("At least 10 times: yes.")
    assert cluster.endswith("At least 10 times: NO.")
    assert benchmark(spark_ml_seconds=19.9).notes()[0].endswith("At least 10 times: NO.")


def test_the_verdict_says_whether_they_agree():
    assert benchmark().notes()[2].endswith("Agreeing to 1e-06: yes.")
    assert benchmark(written=2e-6).notes()[2].endswith("Agreeing to 1e-06: NO.")


def test_the_arithmetic_alone_is_named():
    assert any("writes nothing: 1.30 s." in note for note in benchmark().notes())
