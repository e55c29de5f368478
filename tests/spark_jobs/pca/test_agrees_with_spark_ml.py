"""The product's standardisation + PCA against pyspark.ml's on the same features."""

from __future__ import annotations

import numpy as np
import pytest

from fruit_features.moments.algebra import merge_all, moments_of
from fruit_features.pca.fit import fit_pca, project

pytestmark = pytest.mark.spark
N_IMAGES, N_FEATURES = 400, 60


def test_standardisation_and_pca_agree_up_to_sign(spark_session) -> None:
    from pyspark.ml.feature import PCA, StandardScaler
    from pyspark.ml.linalg import Vectors

    random = np.random.default_rng(11)
    features = np.maximum(random.normal(size=(N_IMAGES, 25)) @ random.normal(size=(25, N_FEATURES)), 0).astype(np.float32)
    features[:, 13] = 0.25
    model = fit_pca(merge_all([moments_of(part) for part in np.array_split(features, 9)], N_FEATURES), 0.95)

    vectors = [(index, Vectors.dense(row.astype(float))) for index, row in enumerate(features)]
    rows = spark_session.createDataFrame(vectors, ["id", "features"])
    scaler = StandardScaler(withMean=True, withStd=True, inputCol="features", outputCol="standardised").fit(rows)
    standardised = scaler.transform(rows)
    pca = PCA(k=model.k, inputCol="standardised", outputCol="components").fit(standardised)
    theirs = np.array([row[0].toArray() for row in pca.transform(standardised).orderBy("id").select("components").collect()])

    np.testing.assert_allclose(scaler.mean.toArray(), model.mean, rtol=1e-12)
    np.testing.assert_allclose(scaler.std.toArray(), model.scale, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(pca.explainedVariance.toArray(), model.explained_variance_ratio, rtol=1e-6)
    ours = project(model, features)
    signs = np.sign(np.sum(ours * theirs, axis=0))
    np.testing.assert_allclose(ours, theirs * signs, rtol=1e-6, atol=1e-6 * np.abs(theirs).max())
    np.testing.assert_allclose(model.components, (pca.pc.toArray() * signs).T, atol=1e-6)
