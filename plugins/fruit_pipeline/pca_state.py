"""Whether the current PCA version has projected a date's features as they are now. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fruit_contract.lake import parse_moments_state_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Fewer images give no PCA: there is nothing to wait for.
_FEWEST_FOR_PCA = 2


@dataclass(frozen=True)
class PcaState:
    """The current version's embedder (None: there is no version yet), and the state of each date's moments that it has projected."""

    embedder_id: str | None = None
    projected: Mapping[str, str] = field(default_factory=dict)


def is_unprojected(ingest_date: str, state_keys: Iterable[str], pca: PcaState, embedder_id: str, policy: str) -> bool:
    """`state_keys` are the keys below `moments_state_prefix(ingest_date)`. True if a PCA step would have something to do for the date."""
    parsed = (parse_moments_state_key(key) for key in state_keys)
    states = [parts[2] for parts in parsed if parts is not None and parts[:2] == (ingest_date, embedder_id)]
    if pca.embedder_id != embedder_id:
        if policy == "never" or (pca.embedder_id is None and not any(_n_samples(state) >= _FEWEST_FOR_PCA for state in states)):
            return False
        return bool(states)
    # Two states: the date was being written, or its run was cut off there.
    return len(states) > 1 or pca.projected.get(ingest_date) != (states[0] if states else None)


def _n_samples(state: str) -> int:
    """A state begins with the number of images."""
    return int(state.partition("-")[0])
