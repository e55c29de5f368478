"""Which keys of a listing are files of a table. Pure."""

from __future__ import annotations


def is_visible_parquet(key: str, prefix: str) -> bool:
    """Whether a reader of the table below `prefix` would read the object: names that begin with '.' or '_' are hidden from it."""
    names = key.removeprefix(prefix).split("/")
    return key.endswith(".parquet") and not any(name.startswith((".", "_")) for name in names)
