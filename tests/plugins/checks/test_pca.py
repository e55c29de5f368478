from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_pipeline.checks.pca import PcaFacts, pca_problems


def sound(falling: list[float], target: float) -> PcaFacts:
    """Returns facts of a sound fit: `falling` are the first variances, and the rest of the 1,280 are zero."""
    total = sum(falling)
    spectrum = sorted((value / total for value in falling), reverse=True) + [0.0] * (1280 - len(falling))
    k, kept = 0, 0.0
    while kept < target and k < 1280:
        kept += spectrum[k]
        k += 1
    provenance = {
        "version": "v1",
        "k": k,
        "target_variance": target,
        "variance_kept": kept,
        "target_reached": kept >= target,
    }
    return PcaFacts(
        version="v1",
        pointer_k=k,
        provenance=provenance,
        mean_length=1280,
        scale_length=1280,
        n_components=k,
        component_lengths=frozenset({1280}),
        explained_variance=[1.0] * k,
        explained_variance_ratio=spectrum[:k],
        spectrum=spectrum,
        n_not_finite=0,
    )


SOUND = sound([8, 4, 2, 1, 1], 0.9)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=200), st.floats(0.01, 0.999))
def test_a_sound_fit_of_any_data_passes(variances: list[float], target: float) -> None:
    assert pca_problems(sound(variances, target)) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(SOUND, mean_length=1279), "'mean' has 1,279 entries, not 1,280"),
        (replace(SOUND, n_components=3), "'components' has 3 entries, not 4"),
        (replace(SOUND, component_lengths=frozenset({1280, 3})), "components have lengths [3, 1280]"),
        (replace(SOUND, n_not_finite=2), "2 numbers of the model are NaN or infinite"),
        (replace(SOUND, pointer_k=3), "pca/current.json says 3"),
        (replace(SOUND, provenance={**SOUND.provenance, "version": "v0"}), "its provenance is that of version 'v0'"),
        (replace(SOUND, provenance={**SOUND.provenance, "variance_kept": 0.99}), "its provenance says 0.99"),
        (replace(SOUND, provenance={**SOUND.provenance, "target_reached": False}), "says target_reached=False"),
        (replace(SOUND, provenance={**SOUND.provenance, "target_variance": 0.5}), "k = 4 is not the smallest"),
        (replace(SOUND, spectrum=SOUND.spectrum[::-1]), "do not fall from component to component"),
        (replace(SOUND, spectrum=[*SOUND.spectrum[:-1], 0.5]), "adds up to 1.500000000, not 1"),
        (replace(SOUND, explained_variance_ratio=[0.5, 0.25, 0.2, 0.05]), "is not the beginning of the spectrum"),
    ],
)
def test_names_what_is_wrong_with_a_version(facts: PcaFacts, expected: str) -> None:
    problems = pca_problems(facts)
    assert any(expected in problem for problem in problems), problems
    assert all(problem.startswith("PCA version v1: ") for problem in problems)


def test_a_target_out_of_reach_is_allowed_if_it_is_said() -> None:
    facts = replace(SOUND, provenance={**SOUND.provenance, "target_variance": 0.99, "target_reached": False})
    assert pca_problems(facts) == []
