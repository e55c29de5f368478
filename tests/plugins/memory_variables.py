"""Airflow's Variables in memory, with what the pipeline asks of them."""

from __future__ import annotations


class OlderVariables:
    """Its methods are those of airflow.sdk.Variable in Airflow 3.2."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, key: str, value: str, description: str | None = None) -> None:
        assert description
        self.values[key] = value

    def get(self, key: str, default: str | None = None) -> str | None:
        return self.values.get(key, default)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


class MemoryVariables(OlderVariables):
    """Its methods are those of airflow.sdk.Variable."""

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.values if key.startswith(prefix)]
