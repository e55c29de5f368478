"""Holds Airflow's Variables in memory, with what the pipeline asks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import EllipsisType


class OlderVariables:
    """Has the methods of airflow.sdk.Variable in Airflow 3.2."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, key: str, value: str, description: str | None = None) -> None:
        assert description
        self.values[key] = value

    def get(self, key: str, default: str | EllipsisType | None = ...) -> str | None:
        return self.values[key] if default is ... else self.values.get(key, default)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


class MemoryVariables(OlderVariables):
    """Has the methods of airflow.sdk.Variable."""

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.values if key.startswith(prefix)]
