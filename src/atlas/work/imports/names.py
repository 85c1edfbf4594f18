"""Finds the task that a plan means by a title, a number, a path or a slug."""

from __future__ import annotations

import re

from ...model.path import name_of
from .tree import segment_of

_LABEL = re.compile(
    r"(?:(?P<word>task|step|phase|milestone|part|epic|story|stage|section)\s+)?(?P<number>\d+(?:\.\d+)*)"
    r"(?P<sign>\s*[.):]|\s+[-\u2013\u2014](?=\s))?(?:\s+(?P<rest>\S.*))?\Z",
    re.IGNORECASE,
)
_CODE = re.compile(r"(?P<code>[A-Za-z]{1,10}-?\d+(?:\.\d+)*)\b")
_PREFIX = re.compile(r"(?:(?:task|step|phase|item|milestone|stage|section|no\.?)s?\s*)?#?(?=\d)", re.IGNORECASE)
_LINK = re.compile(r"\[([^\]]*)\](?:\([^)]*\))?\Z")
_AND = re.compile(r"[,;]|\s+(?:and|&|\+)\s+")


def label_of(title: str) -> tuple[str, str]:
    """Return the number in front of a title (`1.2` of `1.2 Set up`), empty when there is none, and the title alone."""
    match = _LABEL.match(title.strip())
    if match and (match["word"] or match["sign"] or "." in match["number"]):
        return match["number"], match["rest"] or title
    code = _CODE.match(title.strip())
    return (code["code"], title) if code else ("", title)


class Names:
    """Every way to name each task of a plan; `sources` are those known so far, `paths` gives the source of a path."""

    def __init__(self) -> None:
        self.sources: dict[str, str | None] = {}
        self.paths: dict[str, str] = {}
        self.ways: dict[str, list[str]] = {}
        self.numbers: dict[str, str] = {}
        self.labelled: set[str] = set()

    def add(self, source: str, path: str, title: str, number: str, parent: str | None) -> None:
        """Add a task; `number` is what its list or table calls it, `parent` the source of what holds it."""
        self.sources[source] = parent
        self.paths[path] = source
        label, bare = label_of(title)
        own = label or number
        if label:
            self.labelled.add(source)
        above = self.numbers.get(parent or "", "")
        self.numbers[source] = own if "." in own or not above or not own else f"{above}.{own}"
        ways = [title, bare, own, self.numbers[source], source, path, path.partition("/")[2], name_of(path)]
        for way in dict.fromkeys(_plain(way) for way in ways):
            if way:
                self.ways.setdefault(way, []).append(source)

    def find(self, told: str, near: str) -> str | None:
        """Return the source of the task meant, None when there is none or more than one.

        Siblings of `near` come first, then titles that carry a number of their own.
        """
        text = _plain(told)
        slug = segment_of(text) if text else ""
        for way in (text, _PREFIX.sub("", text, count=1), slug):
            found = self.ways.get(way, []) if way else []
            beside = [source for source in found if self.sources[source] == self.sources[near] and source != near]
            others = [source for source in found if source != near]
            labelled = [source for source in others if source in self.labelled]
            for choice in (beside, labelled, others, found):
                if len(choice) == 1:
                    return choice[0]
        return None

    def split(self, told: str) -> list[str]:
        """Return the parts of a list of names."""
        return [part.strip() for part in _AND.split(told) if part.strip()]


def _plain(text: str) -> str:
    """Return a name without quotes, link and emphasis around it, in lower case."""
    text = " ".join(text.split())
    link = _LINK.match(text)
    text = link[1] if link else text
    return text.strip("`*_\"'[]“”").rstrip(".").strip().casefold()
