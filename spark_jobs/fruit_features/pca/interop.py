"""Gives a fitted version as other libraries' own models, for one-off use: pyspark.ml's and scikit-learn's
StandardScaler + PCA.

Nothing is fitted again and nothing of this project stays inside: what comes out is saved, piped and pickled like any
other. Spark's models are made by private names of PySpark, for the public way, `load`, needs a folder that the driver
and all executors share, and that stays.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

import numpy as np

from fruit_contract.pca import FEWEST_IMAGES_OF_A_PCA

if TYPE_CHECKING:
    from pyspark.ml.feature import PCAModel, StandardScalerModel
    from pyspark.sql import SparkSession
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    from fruit_features.pca.fit import PcaModel

# scikit-learn's own 1 would let a constant feature that changes through, and by infinity 0 has no way back (0 * inf is
# NaN). Divided by this a feature vanishes, in float32 too, and 0 comes back as its mean. A power of two: no digit is
# lost on the way.
_CONSTANT_SCALE: Final = 2.0**100


class ScikitLearnNotFoundError(ImportError):
    """scikit-learn is not installed. The message says what to install."""


def as_spark_ml(
    spark: SparkSession,
    model: PcaModel,
    *,
    input_column: str = "features",
    standardised_column: str = "standardised",
    output_column: str = "components",
) -> tuple[StandardScalerModel, PCAModel]:
    """Returns the model as pyspark.ml's two stages: vectors of `input_column` -> `standardised_column` ->
    `output_column`.

    They compute in float64 and give what `project` gives before it rounds to float32. `features/` holds arrays, Spark
    ML takes
    vectors: `pyspark.ml.functions.array_to_vector` makes one of the other. The constructors are those Spark's own `fit`
    ends with (org.apache.spark.ml.feature, Spark 3.5: StandardScalerModel(uid, std, mean), PCAModel(uid, pc,
    explainedVariance)).
    """
    from pyspark.ml.common import _py2java
    from pyspark.ml.feature import PCAModel, StandardScalerModel
    from pyspark.ml.linalg import DenseMatrix, DenseVector

    context = spark.sparkContext
    java = context._jvm.org.apache.spark.ml.feature  # type: ignore[union-attr]  # a running session has a JVM
    k, n_features = model.components.shape
    # Column by column, as Spark keeps a matrix: a column of its d x k is a row of our k x d. It crosses as one pickle,
    # not by element.
    loadings = DenseMatrix(n_features, k, model.components.ravel())
    std, mean, pc, explained = (
        _py2java(context, values)
        for values in (
            DenseVector(model.scale),
            DenseVector(model.mean),
            loadings,
            DenseVector(model.explained_variance_ratio),
        )
    )
    scaler = StandardScalerModel(java.StandardScalerModel(_uid("StandardScaler"), std, mean))
    scaler.setInputCol(input_column).setOutputCol(standardised_column)
    scaler.set(scaler.withMean, True)
    scaler.set(scaler.withStd, True)
    pca = PCAModel(java.PCAModel(_uid("PCA"), pc, explained))
    pca.setInputCol(standardised_column).setOutputCol(output_column)
    pca.set(pca.k, k)
    return scaler, pca


def as_scikit_learn(model: PcaModel, n_samples: int) -> tuple[StandardScaler, PCA]:
    """Returns the model as scikit-learn's two transformers, fitted; `n_samples` is the provenance's.
    `inverse_transform` works, too.

    `scale_` is the sample standard deviation (n - 1), as in Spark ML, where scikit-learn's own fit takes the
    population's (n); `var_` is the population's variance, so that `partial_fit` goes on from it. A constant feature has
    `var_` 0 and a huge `scale_`: it maps to 0 (within 1e-30 of its change) and back to its mean.

    scikit-learn computes in its input's dtype. float32 vectors agree with `project` to 1e-6 of the largest component
    while no feature's mean is beyond some ten of its deviations (MobileNetV2's: up to 4); `vectors.astype(np.float64)`
    agrees always.

    Raises:
        ScikitLearnNotFoundError: it is not installed.
        ValueError: fewer than two samples.
    """
    if n_samples < FEWEST_IMAGES_OF_A_PCA:
        raise ValueError(f"A PCA needs at least {FEWEST_IMAGES_OF_A_PCA} images, there are {n_samples}.")
    try:
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as error:
        raise ScikitLearnNotFoundError(
            "scikit-learn is not installed here, for no step needs it: `pip install scikit-learn`, or use the "
            "environment of `make setup`."
        ) from error
    k, n_features = model.components.shape
    varies = model.scale > 0

    scaler = StandardScaler()
    scaler.mean_ = model.mean.copy()
    scaler.scale_ = np.where(varies, model.scale, _CONSTANT_SCALE)
    scaler.var_ = np.square(model.scale) * (n_samples - 1) / n_samples
    scaler.n_samples_seen_ = np.int64(n_samples)
    scaler.n_features_in_ = n_features

    pca = PCA(n_components=k, svd_solver="covariance_eigh")
    # Standardised features have mean 0. Rounding's loadings of constant features would come back multiplied by their
    # huge scale.
    pca.mean_ = np.zeros(n_features)
    pca.components_ = np.where(varies, model.components, 0.0)
    pca.explained_variance_ = model.explained_variance.copy()
    pca.explained_variance_ratio_ = model.explained_variance_ratio.copy()
    pca.singular_values_ = np.sqrt(model.explained_variance * (n_samples - 1))
    pca.noise_variance_ = _noise_variance(model, n_samples)
    pca.n_components_, pca.n_samples_, pca.n_features_in_ = k, n_samples, n_features
    return scaler, pca


def _noise_variance(model: PcaModel, n_samples: int) -> float:
    """Returns the mean eigenvalue of the components left out, as scikit-learn counts them: n samples have at most n (0
    if none is left).
    """
    left_out = model.spectrum[model.k : min(len(model.spectrum), n_samples)]
    total = model.explained_variance[0] / model.explained_variance_ratio[0]
    return float(left_out.mean() * total) if len(left_out) else 0.0


def _uid(stage: str) -> str:
    """Returns a name like those Spark gives: two models in one pipeline must not share theirs."""
    return f"{stage}_{uuid4().hex[-12:]}"
