"""Converts a fitted version into StandardScaler and PCA of pyspark.ml and of scikit-learn, for one-off use.

Nothing is fitted again, and the models hold nothing of this project: they are saved, piped and pickled like any others.
Spark's models are made by private names of PySpark, because the public way, `load`, needs a folder that the driver and
all executors share, and that stays.
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

# With scikit-learn's own scale of 1, a constant feature that changes would not map to 0. With infinity, 0 would not map
# back to the mean (0 * inf is NaN). Divided by this scale a feature vanishes, in float32 too, and 0 maps back to the
# mean. It is a power of two, so no digit is lost.
_CONSTANT_SCALE: Final = 2.0**100


class ScikitLearnNotFoundError(ImportError):
    """Raised if scikit-learn is not installed. The message says what to install."""


def as_spark_ml(
    spark: SparkSession,
    model: PcaModel,
    *,
    input_column: str = "features",
    standardised_column: str = "standardised",
    output_column: str = "components",
) -> tuple[StandardScalerModel, PCAModel]:
    """Returns the model as two stages of pyspark.ml: `input_column` -> `standardised_column` -> `output_column`.

    They compute in float64 and return what `project` returns before it rounds to float32. `features/` holds arrays,
    while Spark ML needs vectors, which `pyspark.ml.functions.array_to_vector` makes of them. The constructors are the
    ones that Spark's own `fit` uses (org.apache.spark.ml.feature, Spark 3.5: StandardScalerModel(uid, std, mean),
    PCAModel(uid, pc, explainedVariance)).
    """
    from pyspark.ml.common import _py2java
    from pyspark.ml.feature import PCAModel, StandardScalerModel
    from pyspark.ml.linalg import DenseMatrix, DenseVector

    context = spark.sparkContext
    java = context._jvm.org.apache.spark.ml.feature  # type: ignore[union-attr]  # a running session has a JVM
    k, n_features = model.components.shape
    # Spark keeps a matrix column by column, and a column of its d x k matrix is a row of our k x d. The matrix goes to
    # Java as one pickle, not by element.
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
    """Returns the model as two fitted transformers of scikit-learn, with a working `inverse_transform`.

    `n_samples` is that of the provenance. `scale_` is the sample standard deviation (n - 1), as in Spark ML, while
    scikit-learn's own fit uses the population's (n). `var_` is the population's variance, so that `partial_fit` goes on
    from it. A constant feature has `var_` 0 and a huge `scale_`: it maps to 0 (within 1e-30 of its change) and back to
    its mean.

    scikit-learn computes in its input's dtype. float32 vectors agree with `project` to 1e-6 of the largest component as
    long as no feature's mean is beyond some ten of its deviations (MobileNetV2's: up to 4). With
    `vectors.astype(np.float64)`, they always agree.

    Raises:
        ScikitLearnNotFoundError: scikit-learn is not installed.
        ValueError: there are fewer than two samples.
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
    # Standardised features have mean 0. Constant features must have no loadings, even by rounding: `inverse_transform`
    # would multiply them by the huge scale.
    pca.mean_ = np.zeros(n_features)
    pca.components_ = np.where(varies, model.components, 0.0)
    pca.explained_variance_ = model.explained_variance.copy()
    pca.explained_variance_ratio_ = model.explained_variance_ratio.copy()
    pca.singular_values_ = np.sqrt(model.explained_variance * (n_samples - 1))
    pca.noise_variance_ = _noise_variance(model, n_samples)
    pca.n_components_, pca.n_samples_, pca.n_features_in_ = k, n_samples, n_features
    return scaler, pca


def _noise_variance(model: PcaModel, n_samples: int) -> float:
    """Returns the mean eigenvalue of the components that are left out, or 0 if there are none.

    As in scikit-learn, n samples have at most n components.
    """
    left_out = model.spectrum[model.k : min(len(model.spectrum), n_samples)]
    total = model.explained_variance[0] / model.explained_variance_ratio[0]
    return float(left_out.mean() * total) if len(left_out) else 0.0


def _uid(stage: str) -> str:
    """Returns a unique name like those Spark gives, because two models in one pipeline must not have the same."""
    return f"{stage}_{uuid4().hex[-12:]}"
