"""Reading HTML strictly, as tests of what is written need it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """What a page holds; refuses tags that do not match, attributes without quotes, and what would load something."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        assert len(values) == len(attrs), f"an attribute twice in {tag}"
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}, tag
        assert not {"src", "srcset", "xlink:href"} & values.keys()
        assert not any(name.startswith("on") for name in values)
        assert values.get("href", "#").startswith("#")
        self.tags.append((tag, values))
        if tag not in _VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.get_starttag_text() is None or not self.open:
            raise AssertionError(f"</{tag}> closes nothing")
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def count(self, tag: str, kind: str = "") -> int:
        """How many tags there are, of a class if one is given."""
        return sum(name == tag and kind in [*values.get("class", "").split(), ""] for name, values in self.tags)


def text_of(html: str) -> str:
    """What a reader sees of a piece of HTML."""
    return "".join(Page(html).text)


def loads(html: str) -> list[str]:
    """What in the page would reach for the network or another file."""
    return re.findall(r"https?://|//[a-z]|url\(|@import|fetch\(|XMLHttpRequest|import\(", html)
