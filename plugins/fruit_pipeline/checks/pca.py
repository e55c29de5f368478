"""Checks whether the current PCA version is sound: turns its numbers into a list of problems."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.tables import N_FEATURES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Ratios come from one float64 eigen-decomposition of 1280 values.
_TOLERANCE: Final = 1e-9


@dataclass(frozen=True)
class PcaFacts:
    """Describes the current version by its three files: the pointer, the provenance and the model.

    `component_lengths` is the set of lengths of the model's component vectors; `n_not_finite` counts numbers of the
    model that are NaN or infinite.
    """

    version: str
    pointer_k: int
    provenance: Mapping[str, Any]
    mean_length: int
    scale_length: int
    n_components: int
    component_lengths: frozenset[int]
    explained_variance: Sequence[float]
    explained_variance_ratio: Sequence[float]
    spectrum: Sequence[float]
    n_not_finite: int


def pca_problems(facts: PcaFacts) -> list[str]:
    """Returns what is wrong with the shapes or, if nothing is, with the variance: the ratios must fall and add up, and
    k must be the smallest that reaches the target.
    """
    where = f"PCA version {facts.version}"
    problems = [f"{where}: {problem}" for problem in _shape_problems(facts)]
    if not problems:
        problems = [f"{where}: {problem}" for problem in _variance_problems(facts)]
    return problems


def _shape_problems(facts: PcaFacts) -> list[str]:
    k = facts.pointer_k
    lengths = {
        "components": (facts.n_components, k),
        "explained_variance": (len(facts.explained_variance), k),
        "explained_variance_ratio": (len(facts.explained_variance_ratio), k),
        "mean": (facts.mean_length, N_FEATURES),
        "scale": (facts.scale_length, N_FEATURES),
        "spectrum": (len(facts.spectrum), N_FEATURES),
    }
    problems = [
        f"'{name}' has {found:,} entries, not {expected:,}"
        for name, (found, expected) in lengths.items()
        if found != expected
    ]
    if k < 1:
        problems.append(f"k is {k}: there must be at least one component")
    if facts.component_lengths - {N_FEATURES}:
        problems.append(f"components have lengths {sorted(facts.component_lengths)}, not {N_FEATURES:,}")
    if facts.n_not_finite:
        problems.append(f"{facts.n_not_finite:,} numbers of the model are NaN or infinite")
    if facts.provenance.get("version") != facts.version:
        problems.append(f"its provenance is that of version '{facts.provenance.get('version')}'")
    if facts.provenance.get("k") != k:
        problems.append(f"its provenance says k = {facts.provenance.get('k')}, pca/current.json says {k}")
    return problems


def _variance_problems(facts: PcaFacts) -> list[str]:
    ratios = facts.explained_variance_ratio
    kept = math.fsum(ratios)
    target = float(facts.provenance["target_variance"])
    problems = []
    if any(ratio < -_TOLERANCE or ratio > 1 + _TOLERANCE for ratio in facts.spectrum):
        problems.append("explained variance ratios lie outside 0 to 1")
    if any(later > earlier + _TOLERANCE for earlier, later in zip(facts.spectrum, facts.spectrum[1:], strict=False)):
        problems.append("explained variance ratios do not fall from component to component")
    if any(abs(ratio - whole) > _TOLERANCE for ratio, whole in zip(ratios, facts.spectrum, strict=False)):
        problems.append("explained_variance_ratio is not the beginning of the spectrum")
    if abs(math.fsum(facts.spectrum) - 1) > _TOLERANCE * len(facts.spectrum):
        problems.append(f"the whole spectrum adds up to {math.fsum(facts.spectrum):.9f}, not 1")
    if abs(kept - float(facts.provenance["variance_kept"])) > _TOLERANCE * len(facts.spectrum):
        problems.append(
            f"the kept ratios add up to {kept:.9f}, its provenance says {facts.provenance['variance_kept']}"
        )
    reached = kept >= target - _TOLERANCE
    if reached != bool(facts.provenance["target_reached"]):
        problems.append(
            f"it keeps {kept:.6f} of the variance with a target of {target:g}, but says "
            f"target_reached={facts.provenance['target_reached']}"
        )
    elif reached and kept - ratios[-1] >= target + _TOLERANCE:
        problems.append(
            f"k = {facts.pointer_k} is not the smallest: {facts.pointer_k - 1} components keep {kept - ratios[-1]:.6f} "
            "of the variance"
        )
    return problems
