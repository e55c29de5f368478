"""In which state each date's moments are, told by the names of empty objects: one listing for the whole of history, and no file opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_contract import lake
from fruit_features.lake import store as object_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fruit_features.moments_frames import WrittenMoments


def fingerprint(n_samples: int, content_digest: int) -> str:
    """What tells one state of a date's features from another."""
    return f"{n_samples}-{content_digest & 0xFFFFFFFFFFFFFFFF:016x}"


def write_moments_states(bucket: str, ingest_dates: Sequence[str], written: Iterable[WrittenMoments]) -> None:
    """Makes the states of `ingest_dates` those of the moments just `written`: the new ones first, so that no date is lost between."""
    present = {lake.moments_state_key(row.ingest_date, row.embedder_id, fingerprint(row.n_samples, row.content_digest)) for row in written}
    before = {entry.key for day in ingest_dates for entry in object_store.list_objects(bucket, lake.moments_state_prefix(day))}
    for key in sorted(present - before):
        object_store.write_object(bucket, key, b"")
    for key in sorted(before - present):
        object_store.delete_object(bucket, key)


def read_moments_states(bucket: str, embedder_id: str) -> dict[str, str]:
    """The fingerprint of every date's moments of one embedder. A date with two was being written when it was listed: both, joined."""
    states: dict[str, str] = {}
    for key in object_store.list_plain_keys(bucket, lake.moments_state_prefix()):
        _add_state(states, key, embedder_id)
    return states


def read_states_of(bucket: str, embedder_id: str, ingest_dates: Iterable[str]) -> dict[str, str]:
    """The same for a few dates, whatever the length of history."""
    states: dict[str, str] = {}
    for day in ingest_dates:
        for entry in object_store.list_objects(bucket, lake.moments_state_prefix(day)):
            _add_state(states, entry.key, embedder_id)
    return states


def _add_state(states: dict[str, str], key: str, embedder_id: str) -> None:
    parts = lake.parse_moments_state_key(key)
    if parts is not None and parts[1] == embedder_id:
        states[parts[0]] = f"{states[parts[0]]}+{parts[2]}" if parts[0] in states else parts[2]
