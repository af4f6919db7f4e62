"""What the value of an option can be.

A value has three forms: the text of a flag, the plain value that TOML and JSON have for it, and the
value of the model. A kind turns one into the other and says what it takes: to people, to shells and
to editors. Errors are a `ConfigError`: one sentence that says what was expected and what was there.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, TypeVar

from pktlb.config.bounds import MAX_TEXT
from pktlb.config.problem import did_you_mean, show
from pktlb.errors import ConfigError

Item = TypeVar("Item")


class Kind:
    """What a value can be."""

    expected: str
    "What is expected where there is nothing."
    metavar: str = ""
    "What stands for the value in the help of a flag."
    words: tuple[str, ...] = ()
    "All values that there are, where they are words."
    typed: Callable[[str], Any] = str
    "argparse's `type` of the flag in commands that leave the check to the balancer."

    def check(self, plain: Any) -> Any:
        """The value of the model that a plain value stands for; raises `ConfigError`."""
        raise NotImplementedError

    def plain(self, value: Any) -> Any:
        """The plain value that `check` makes this value of the model of."""
        return value

    def spelled(self, text: str) -> Any:
        """The plain value that the text of a flag says; what is no such value is left as it is."""
        return text

    def text(self, value: Any) -> str:
        """The text of a flag that stands for a value of the model."""
        return str(self.plain(value))

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of plain values."""
        raise NotImplementedError

    def takes(self) -> str:
        """Plain values, in Markdown."""
        raise NotImplementedError


class Whole(Kind):
    """A whole number of `what`, `low`..`high`."""

    typed = int

    def __init__(self, what: str, low: int, high: int, unit: str = "") -> None:
        self.expected = f"{what} in {low}..{high}"
        self.metavar = unit.upper() or "N"
        self._low, self._high, self._unit = low, high, unit

    def check(self, plain: Any) -> int:
        if type(plain) is int and self._low <= plain <= self._high:
            return plain
        raise ConfigError(f"expected {self.expected}, got {show(plain)}")

    def spelled(self, text: str) -> int | str:
        is_number = text.isascii() and text.isdigit() and len(text) < 20
        return int(text) if is_number else text

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self._low, "maximum": self._high}

    def takes(self) -> str:
        return f"{self._low}..{self._high} {self._unit}".rstrip()


class Text(Kind):
    """A text, which `parse` makes a value of."""

    def __init__(self, what: str, parse: Callable[[str], Any], metavar: str) -> None:
        self.expected, self._parse, self.metavar = what, parse, metavar

    def check(self, plain: Any) -> Any:
        if not isinstance(plain, str):
            raise ConfigError(f"expected {self.expected}, in quotes, got {show(plain)}")
        if len(plain) > MAX_TEXT:
            raise ConfigError(f"expected {self.expected}, got {show(plain)}")
        try:
            return self._parse(plain)
        except ValueError:
            raise ConfigError(f"expected {self.expected}, got {show(plain)}") from None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}

    def takes(self) -> str:
        return "text"


class OneOf(Kind):
    """One of some words, each with its value of the model; or a member of an `Enum`."""

    def __init__(self, values: Mapping[str, Any] | type[Enum], metavar: str) -> None:
        if isinstance(values, type):
            values = {each.value: each for each in values}
        self.metavar = metavar
        self.words = tuple(values)
        self.expected = f"{', '.join(self.words[:-1])} or {self.words[-1]}"
        self._values = values
        self._words = {value: word for word, value in values.items()}

    def check(self, plain: Any) -> Any:
        if isinstance(plain, str) and plain in self._values:
            return self._values[plain]
        hint = did_you_mean(plain, self.words)
        raise ConfigError(f"expected {self.expected}, got {show(plain)}{hint}")

    def plain(self, value: Any) -> str | None:
        return self._words.get(value)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}

    def takes(self) -> str:
        return ", ".join(f"`{word}`" for word in self.words)


class Switch(Kind):
    """True or false: a flag without a value, and its opposite `--no-...`."""

    expected = "true or false"

    def spelled(self, text: str) -> bool | str:
        return text == "true" if text in ("true", "false") else text

    def text(self, value: Any) -> str:
        return "true" if value else "false"

    def check(self, plain: Any) -> bool:
        if isinstance(plain, bool):
            return plain
        raise ConfigError(f"expected {self.expected}, got {show(plain)}")

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def takes(self) -> str:
        return "true, false"


def distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    """Each item once."""
    return tuple(dict.fromkeys(items))


class Many(Kind):
    """A list of `low`..`high` texts, or one text alone; its flag may be repeated. The value of the
    model is what `gather` makes of the items."""

    def __init__(
        self, item: Text, gather: Callable[[list[Any]], Any] = distinct, what: str = "",
        low: int = 0, high: int | None = None,
    ) -> None:  # fmt: skip
        self.expected = what or item.expected
        self.metavar = item.metavar
        self.item, self.gather, self.low, self.high = item, gather, low, high

    def plain(self, value: Any) -> list[Any]:
        return [self.item.plain(each) for each in value]

    def text(self, value: Any) -> str:
        return ", ".join(map(self.item.text, value))

    def schema(self) -> dict[str, Any]:
        item = self.item.schema()
        size = {"minItems": self.low, "maxItems": self.high}
        known = {key: value for key, value in size.items() if value}
        return {"anyOf": [item, {"type": "array", "items": item, **known}]}

    def takes(self) -> str:
        return "text, or a list"
