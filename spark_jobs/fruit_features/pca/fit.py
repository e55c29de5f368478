"""Fits standardisation and PCA to moments alone, with one eigen-decomposition and no pass over the images.

Standardising as Spark ML's StandardScaler(withMean, withStd) and then taking the PCA is the eigen-decomposition of the
correlation matrix, R = D^-1/2 C D^-1/2 with C = scatter / (n - 1) and D its diagonal (I. T. Jolliffe, "Principal
Component Analysis", 2nd ed., section 2.3).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fruit_contract.pca import FEWEST_IMAGES_OF_A_PCA
from fruit_features.moments.algebra import NotFiniteError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fruit_features.moments.algebra import Moments

# A constant feature may get a variance up to this share of its squared mean by rounding (float32 has 24 bits).
_CONSTANT_BELOW: Final = 1e-13


class TooFewImagesError(ValueError):
    """Raised if there is no variance to keep, because there are fewer than two images or all of them are alike."""


@dataclass(frozen=True)
class PcaModel:
    """Holds one fitted standardisation and PCA of d features and k components.

    `mean` and `scale` are float64[d]; a scale of 0 marks a constant feature, which maps to 0. `components` is
    float64[k, d], a component a row. `explained_variance` and `explained_variance_ratio` are float64[k]. `spectrum` is
    float64[d], the ratio of every component.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    components: NDArray[np.float64]
    explained_variance: NDArray[np.float64]
    explained_variance_ratio: NDArray[np.float64]
    spectrum: NDArray[np.float64]

    @property
    def k(self) -> int:
        return len(self.components)

    @property
    def variance_kept(self) -> float:
        """Returns the share of the variance that the components keep."""
        return float(self.explained_variance_ratio.sum())

    def digest(self) -> str:
        """Returns twelve hex digits that follow from the model's content alone, on every machine and in every release.

        It is part of a version's name, and a model that is read must have the digest of its version.
        """
        sha256 = hashlib.sha256()
        for array in (self.mean, self.scale, self.components):
            sha256.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return sha256.hexdigest()[:12]


def fit_pca(moments: Moments, target_variance: float) -> PcaModel:
    """Fits the fewest components whose cumulative explained variance ratio reaches `target_variance`.

    There are no more components than directions in which the images differ, because all others are rounding. If they
    do not reach the target, all of them are kept. The largest absolute loading of each component is positive, so that
    the same data give the same file. O(d^3).

    Raises:
        ValueError: the target is not above 0 and at most 1.
        TooFewImagesError: there are fewer than two images, or no feature varies.
        NotFiniteError: a moment is NaN or infinite.
    """
    if not 0 < target_variance <= 1:
        raise ValueError(f"The target variance is {target_variance}: it must lie above 0 and not above 1.")
    if moments.n_samples < FEWEST_IMAGES_OF_A_PCA:
        raise TooFewImagesError(f"A PCA needs at least {FEWEST_IMAGES_OF_A_PCA} images, there are {moments.n_samples}.")
    if not (np.isfinite(moments.mean).all() and np.isfinite(moments.scatter).all()):
        raise NotFiniteError(
            f"The moments of {moments.n_samples} images hold NaN or infinity: a PCA can't be fitted to them."
        )
    scale = standard_deviation(moments)
    eigenvalues, eigenvectors = np.linalg.eigh(correlation(moments, scale))
    eigenvalues = np.clip(eigenvalues[::-1], 0.0, None)
    total = float(eigenvalues.sum())
    if total <= 0:
        raise TooFewImagesError(f"All {moments.n_samples} images have the same features: there is no variance to keep.")
    spectrum = eigenvalues / total
    k = components_for(spectrum[: _rank(spectrum, moments.n_samples)], target_variance)
    components = _fix_signs(eigenvectors[:, ::-1][:, :k].T)
    return PcaModel(moments.mean, scale, components, eigenvalues[:k], spectrum[:k], spectrum)


def components_for(spectrum: NDArray[np.float64], target_variance: float) -> int:
    """Returns the smallest k for which the first k ratios reach `target_variance`, or their number if none does."""
    reached = np.cumsum(spectrum) >= target_variance
    return int(np.argmax(reached)) + 1 if reached.any() else len(spectrum)


def _rank(spectrum: NDArray[np.float64], n_samples: int) -> int:
    """Counts the components beyond rounding, as `numpy.linalg.matrix_rank` does; n images have at most n - 1."""
    beyond_rounding = spectrum > spectrum[0] * len(spectrum) * np.finfo(np.float64).eps
    return min(n_samples - 1, int(np.count_nonzero(beyond_rounding)))


def standard_deviation(moments: Moments) -> NDArray[np.float64]:
    """Returns the sample standard deviation (n - 1) of each feature, float64[d]. It is 0 for a constant feature."""
    variance: NDArray[np.float64] = np.diag(moments.scatter) / (moments.n_samples - 1)
    constant = variance <= _CONSTANT_BELOW * np.square(moments.mean)
    deviation: NDArray[np.float64] = np.sqrt(np.where(constant, 0.0, variance))
    return deviation


def correlation(moments: Moments, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the covariance, float64[d, d], of the features divided by `scale`. Features of scale 0 map to 0."""
    inverse = inverse_scale(scale)
    covariance: NDArray[np.float64] = moments.scatter / (moments.n_samples - 1)
    return covariance * np.outer(inverse, inverse)


def retained_variance(model: PcaModel, moments: Moments) -> float:
    """Returns the share (0 to 1) of the variance of the images behind `moments` that the model's components keep.

    It is 1.0 if nothing varies, because there is nothing to lose.
    """
    if moments.n_samples < FEWEST_IMAGES_OF_A_PCA:
        return 1.0
    standardised = correlation(moments, model.scale)
    total = float(np.trace(standardised))
    if total <= 0:
        return 1.0
    return float(np.einsum("ij,ij->", model.components @ standardised, model.components)) / total


class Projector:
    """Standardises and projects with one model.

    Standardising is linear, so it is part of the loadings, which saves two passes over the vectors.
    """

    def __init__(self, model: PcaModel) -> None:
        self._loadings = model.components.T * inverse_scale(model.scale)[:, None]
        self._offset = model.mean @ self._loadings

    def project(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the PCA components, float32[n, k], of feature vectors, float32[n, d]. It computes in float64."""
        return (vectors.astype(np.float64) @ self._loadings - self._offset).astype(np.float32)


def project(model: PcaModel, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns what a `Projector` of the model returns, for a single use."""
    return Projector(model).project(vectors)


def inverse_scale(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 1 / scale, and 0 where scale is 0 (Spark ML's rule for a constant feature)."""
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)


def _fix_signs(components: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = components[np.arange(len(components)), np.abs(components).argmax(axis=1)]
    return np.ascontiguousarray(components * np.where(largest < 0, -1.0, 1.0)[:, None])
