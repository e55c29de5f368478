"""Stands in for what aiobotocore gives as the content of an object."""

from __future__ import annotations

from typing import Self


class Body:
    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def read(self) -> bytes:
        return self.content
