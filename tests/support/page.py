"""docs/api.md as a list of requests and their answers."""

import json
import re
from typing import Any, NamedTuple

from netns.process import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()
SOCKET = "/run/pktlb/default.sock"
_SECTION = re.compile(r"^### `([A-Z]+) (/v1\S*)`\n(.*?)(?=^##|\Z)", re.M | re.S)
_EXAMPLE = re.compile(r"^```sh\n(curl .*?)\n```\n```(json|toml)\n(.*?)\n```", re.M | re.S)


class Example(NamedTuple):
    """A request of the page, and the answer that it shows."""

    method: str
    path: str
    command: str
    answer: str
    is_json: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def sections() -> list[tuple[str, str]]:
    """Methods and paths of the routes on the page."""
    return [(method, path) for method, path, _ in _SECTION.findall(PAGE)]


def examples() -> list[Example]:
    """All examples in the order of the page, in which they work."""
    return [
        Example(method, path, command, answer, kind == "json")
        for method, path, text in _SECTION.findall(PAGE)
        for command, kind, answer in _EXAMPLE.findall(text)
    ]


def shape(value: Any, name: str = "") -> Any:
    """The parts of an answer that stay when values change: the keys in order, and types."""
    if name in ("reasons", "trouble", "fields"):
        return "map"
    if isinstance(value, dict):
        return [(key, shape(each, key)) for key, each in value.items()]
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return "number" if isinstance(value, (int, float)) and value is not True else "text"


def fits(shown: str, found: str) -> None:
    """Assert that an answer has the keys and types that the page shows."""
    assert shape(json.loads(shown)) == shape(json.loads(found))


def same(shown: str, found: str) -> None:
    """Assert that an answer is as the page shows, which may leave out parts of a list or map."""
    one, other = json.loads(shown), json.loads(found)
    fits(shown, found)
    assert _is_within(one | {"time": 0}, other | {"time": 0}), found


def _is_within(shown: Any, found: Any) -> bool:
    if isinstance(shown, dict) and isinstance(found, dict):
        return all(key in found and _is_within(each, found[key]) for key, each in shown.items())
    if isinstance(shown, list) and isinstance(found, list):
        return len(shown) <= len(found) and all(map(_is_within, shown, found))
    return bool(shown == found)
