"""Compares a fitted version, loaded as pyspark.ml's and scikit-learn's own models, with the product's `project`."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fruit_features.moments.algebra import merge_all, moments_of
from fruit_features.pca.fit import PcaModel, fit_pca, inverse_scale, project
from fruit_features.pca.interop import ScikitLearnNotFoundError, as_scikit_learn, as_spark_ml

N_IMAGES, N_FEATURES, CONSTANT = 300, 40, [7, 31]


def relu_features(seed: int = 3, n_images: int = N_IMAGES, n_features: int = N_FEATURES) -> np.ndarray:
    """Returns float32[n, d] like an embedder's, with two constant features (one of them 0)."""
    random = np.random.default_rng(seed)
    values = np.maximum(random.normal(size=(n_images, 15)) @ random.normal(size=(15, n_features)) + 1, 0)
    values[:, CONSTANT] = [0.1, 0.0]
    return values.astype(np.float32)


def unseen() -> np.ndarray:
    """Returns the features of other images, in which the constant features change."""
    values = relu_features(seed=4, n_images=50)
    values[:, CONSTANT] = np.random.default_rng(5).uniform(1, 6, size=(50, 2))
    return values


def standardised(model: PcaModel, vectors: np.ndarray) -> np.ndarray:
    return (vectors.astype(np.float64) - model.mean) * inverse_scale(model.scale)


def assert_same_projection(theirs: np.ndarray, model: PcaModel, vectors: np.ndarray) -> None:
    ours = project(model, vectors)
    np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-6 * np.abs(ours).max())


def fitted(target_variance: float = 0.95) -> PcaModel:
    return fit_pca(moments_of(relu_features()), target_variance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target_variance", [0.5, 0.95, 1.0])
def test_scikit_learn_projects_like_the_product(dtype: type, target_variance: float) -> None:
    model = fitted(target_variance)

    pair = make_pipeline(*as_scikit_learn(model, N_IMAGES))

    for vectors in (relu_features(), unseen()):
        assert_same_projection(pair.transform(vectors.astype(dtype)), model, vectors)


def test_scikit_learn_projects_features_far_from_zero_in_float64() -> None:
    values = (relu_features() + np.float32(1e4)).astype(np.float32)
    model = fit_pca(moments_of(values), 0.95)

    pair = make_pipeline(*as_scikit_learn(model, N_IMAGES))

    assert_same_projection(pair.transform(values.astype(np.float64)), model, values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scikit_learn_maps_constant_features_to_zero_and_back_to_their_mean(dtype: type) -> None:
    model = fitted(1.0)
    scaler, pca = as_scikit_learn(model, N_IMAGES)
    vectors: Any = unseen().astype(dtype)

    scaled = scaler.transform(vectors)
    restored = scaler.inverse_transform(pca.inverse_transform(pca.transform(scaled)))

    np.testing.assert_allclose(scaled[:, CONSTANT], 0, atol=1e-28)
    expected = vectors.astype(np.float64)
    expected[:, CONSTANT] = model.mean[CONSTANT]
    np.testing.assert_allclose(restored, expected, atol=1e-12 if dtype is np.float64 else 1e-5)


def test_scikit_learn_restores_what_the_components_keep() -> None:
    model = fitted(0.8)
    scaler, pca = as_scikit_learn(model, N_IMAGES)
    kept = standardised(model, unseen()) @ model.components.T

    restored = scaler.inverse_transform(pca.inverse_transform(kept))

    np.testing.assert_allclose(restored, kept @ model.components * model.scale + model.mean, atol=1e-12)


@pytest.mark.parametrize(("n_images", "target_variance"), [(300, 0.95), (300, 1.0), (25, 0.8)])
def test_scikit_learn_has_the_attributes_of_its_own_fit(n_images: int, target_variance: float) -> None:
    values = relu_features(n_images=n_images).astype(np.float64)
    model = fit_pca(moments_of(values), target_variance)
    scaler, pca = as_scikit_learn(model, n_images)

    own_scaler = StandardScaler().fit(values)
    n_components = min(model.k, n_images)
    own_pca = PCA(n_components, svd_solver="full").fit(standardised(model, values))

    assert set(vars(own_scaler)) - {"feature_names_in_"} <= set(vars(scaler))
    public = {name for name in vars(own_pca) if not name.startswith("_")}
    assert public <= set(vars(pca))
    assert (scaler.n_samples_seen_, scaler.n_features_in_) == (own_scaler.n_samples_seen_, own_scaler.n_features_in_)
    assert (pca.n_components_, pca.n_samples_, pca.n_features_in_) == (
        model.k,
        own_pca.n_samples_,
        own_pca.n_features_in_,
    )
    varies = model.scale > 0
    np.testing.assert_allclose(scaler.mean_, own_scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaler.var_, own_scaler.var_, atol=1e-12)
    np.testing.assert_allclose(
        scaler.scale_[varies], own_scaler.scale_[varies] * np.sqrt(n_images / (n_images - 1)), rtol=1e-10
    )
    np.testing.assert_allclose(pca.mean_, own_pca.mean_, atol=1e-12)
    for name in ("explained_variance_", "explained_variance_ratio_"):
        np.testing.assert_allclose(getattr(pca, name)[:n_components], getattr(own_pca, name), atol=1e-10)
    # A root of what rounding leaves of 0 is larger than that.
    np.testing.assert_allclose(pca.singular_values_[:n_components], own_pca.singular_values_, atol=1e-5)
    assert pca.noise_variance_ == pytest.approx(own_pca.noise_variance_, abs=1e-10)
    assert list(pca.get_feature_names_out()[:2]) == ["pca0", "pca1"]


def test_scikit_learn_fits_the_same_again_with_the_same_signs() -> None:
    model = fitted()
    _, pca = as_scikit_learn(model, N_IMAGES)

    again = clone(pca).fit(standardised(model, relu_features()))

    np.testing.assert_allclose(pca.components_, again.components_, atol=1e-9)
    np.testing.assert_allclose(pca.get_covariance(), again.get_covariance(), atol=1e-9)


def test_scikit_learn_goes_on_from_the_fit() -> None:
    more = unseen().astype(np.float64)
    scaler, _ = as_scikit_learn(fitted(), N_IMAGES)

    scaler.partial_fit(more)

    whole = StandardScaler().fit(np.vstack([relu_features().astype(np.float64), more]))
    np.testing.assert_allclose(scaler.mean_, whole.mean_, rtol=1e-10)
    np.testing.assert_allclose(scaler.scale_, whole.scale_, rtol=1e-10)


def test_scikit_learn_is_pickled_and_shares_nothing_with_the_model() -> None:
    model = fitted()
    pair = as_scikit_learn(model, N_IMAGES)
    before = project(model, unseen())

    scaler, pca = pickle.loads(pickle.dumps(pair))  # noqa: S301 - written on this line
    pair[0].mean_ += 1
    pair[1].explained_variance_ += 1
    pair[1].components_ += 1

    np.testing.assert_array_equal(project(model, unseen()), before)
    assert b"fruit_features" not in pickle.dumps(pair)
    assert_same_projection(pca.transform(scaler.transform(unseen())), model, unseen())


def test_scikit_learn_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)

    with pytest.raises(ScikitLearnNotFoundError, match="pip install scikit-learn"):
        as_scikit_learn(fitted(), N_IMAGES)


def test_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 images"):
        as_scikit_learn(fitted(), 1)


@pytest.mark.spark
class TestSparkMl:
    def rows(self, spark, vectors: np.ndarray, column: str = "features"):
        """Returns one partition of arrays as `features/` has them, turned into vectors."""
        from pyspark.ml.functions import array_to_vector

        arrays = [(index, row.tolist()) for index, row in enumerate(vectors)]
        frame = spark.createDataFrame(arrays, "id int, vector array<float>").coalesce(1)
        return frame.select("id", array_to_vector("vector").alias(column))  # type: ignore[arg-type]

    def matrix(self, frame, column: str) -> np.ndarray:
        return np.array([row[0].toArray() for row in frame.orderBy("id").select(column).collect()])

    @pytest.mark.parametrize("target_variance", [0.95, 1.0])
    def test_projects_like_the_product(self, spark_session, target_variance: float) -> None:
        model = fitted(target_variance)
        scaler, pca = as_spark_ml(spark_session, model)

        for vectors in (relu_features(), unseen()):
            scaled = scaler.transform(self.rows(spark_session, vectors))
            np.testing.assert_allclose(self.matrix(scaled, "standardised"), standardised(model, vectors), atol=1e-12)
            assert_same_projection(self.matrix(pca.transform(scaled), "components"), model, vectors)

    def test_is_its_own_fit_of_the_same_features(self, spark_session) -> None:
        from pyspark.ml.feature import PCA, StandardScaler

        parts = [moments_of(part) for part in np.array_split(relu_features(), 9)]
        model = fit_pca(merge_all(parts, N_FEATURES), 0.95)
        scaler, pca = as_spark_ml(spark_session, model)

        rows = self.rows(spark_session, relu_features())
        own_scaler = StandardScaler(withMean=True, withStd=True, inputCol="features", outputCol="standardised").fit(
            rows
        )
        own_standardised = own_scaler.transform(rows)
        own_pca = PCA(k=model.k, inputCol="standardised", outputCol="components").fit(own_standardised)
        np.testing.assert_allclose(scaler.mean.toArray(), own_scaler.mean.toArray(), rtol=1e-12)
        np.testing.assert_allclose(scaler.std.toArray(), own_scaler.std.toArray(), rtol=1e-10, atol=1e-9)
        np.testing.assert_allclose(pca.explainedVariance.toArray(), own_pca.explainedVariance.toArray(), rtol=1e-6)
        np.testing.assert_array_equal(pca.explainedVariance.toArray(), model.explained_variance_ratio)
        np.testing.assert_array_equal(pca.pc.toArray(), model.components.T)
        # The sign of a component is anyone's choice.
        signs = np.sign(np.sum(pca.pc.toArray() * own_pca.pc.toArray(), axis=0))
        np.testing.assert_allclose(pca.pc.toArray(), own_pca.pc.toArray() * signs, atol=1e-6)
        assert_same_projection(
            self.matrix(own_pca.transform(own_standardised), "components") * signs, model, relu_features()
        )
        assert pca.getK() == model.k
        for ours, own in ((scaler, own_scaler), (pca, own_pca)):
            assert {p.name: v for p, v in ours.extractParamMap().items()} == {
                p.name: v for p, v in own.extractParamMap().items()
            }
            assert ours.uid != own.uid

    def test_survives_saving_and_loading(self, spark_session, tmp_path) -> None:
        from pyspark.ml.feature import PCAModel, StandardScalerModel

        model = fitted()
        scaler, pca = as_spark_ml(spark_session, model)

        scaler.save((tmp_path / "scaler").as_uri())
        pca.save((tmp_path / "pca").as_uri())

        scaler_again = StandardScalerModel.load((tmp_path / "scaler").as_uri())
        pca_again = PCAModel.load((tmp_path / "pca").as_uri())
        assert (scaler_again.uid, pca_again.uid) == (scaler.uid, pca.uid)
        assert scaler_again.getWithMean()
        assert scaler_again.getWithStd()
        projected = pca_again.transform(scaler_again.transform(self.rows(spark_session, unseen())))
        assert_same_projection(self.matrix(projected, "components"), model, unseen())

    def test_works_in_a_pipeline_with_columns_of_other_names(self, spark_session, tmp_path) -> None:
        from pyspark.ml import PipelineModel

        model = fitted()
        stages = as_spark_ml(
            spark_session, model, input_column="vector", standardised_column="scaled", output_column="pca"
        )
        rows = self.rows(spark_session, unseen(), "vector")

        PipelineModel(list(stages)).save((tmp_path / "pipeline").as_uri())
        projected = PipelineModel.load((tmp_path / "pipeline").as_uri()).transform(rows)

        assert projected.columns == ["id", "vector", "scaled", "pca"]
        assert_same_projection(self.matrix(projected, "pca"), model, unseen())

    def test_two_versions_share_a_pipeline(self, spark_session) -> None:
        from pyspark.ml import PipelineModel

        first, second = fitted(0.5), fitted(0.95)
        stages: list[Any] = [
            *as_spark_ml(spark_session, first, standardised_column="scaled_1", output_column="pca_1"),
            *as_spark_ml(spark_session, second, standardised_column="scaled_2", output_column="pca_2"),
        ]

        projected = PipelineModel(stages).transform(self.rows(spark_session, unseen()))

        assert_same_projection(self.matrix(projected, "pca_1"), first, unseen())
        assert_same_projection(self.matrix(projected, "pca_2"), second, unseen())
