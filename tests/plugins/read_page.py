"""Reads a page as a browser does, for tests."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

# Names of categories, runs and errors that try to be more than text.
HOSTILE_NAMES: Final = (
    "<script>alert(1)</script>",
    "</style></title></bdi></td><img src=x onerror=alert(1)>",
    "\"'><b onclick='x'",
    "{{ 7*7 }}{% raw %}{# hidden",
    "&lt;b&gt; &amp;",
    "\u202egnp.tiurf",
    "W" * 5_000,
)
_WITHOUT_END: Final = ("meta", "img")


class Page(HTMLParser):
    """Holds the tags of a page with their attributes, and the text that a person reads. Reading fails if tags are not
    closed in order.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _WITHOUT_END:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.tags]

    @property
    def shape(self) -> list[tuple[str, list[str]]]:
        """Returns all tags, each with the names of its attributes."""
        return [(name, list(attributes)) for name, attributes in self.tags]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def said_to_browser(self, header: str) -> str | None:
        """Returns what the page says in place of an HTTP header."""
        return next((meta["content"] for meta in self.attributes("meta") if meta.get("http-equiv") == header), None)
