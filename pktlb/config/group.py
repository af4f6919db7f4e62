"""A table inside a table: a kind of option whose keys are options themselves."""

from collections.abc import Callable, Sequence
from typing import Any

from pktlb.config.kinds import Kind
from pktlb.config.option import Option
from pktlb.config.problem import show
from pktlb.errors import ConfigError


class Group(Kind):
    """A table whose keys are the options `of`; its flag takes `KEY=VALUE,...`. `gather`, or else
    `model` itself, makes a `model` of their values, by attribute."""

    def __init__(
        self, model: type, of: Sequence[Option], metavar: str, sentence: str,
        gather: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        self.expected = "a table"
        self.title, self.sentence, self.metavar = f"{model.__name__}Keys", sentence, metavar
        self.options, self._gather = tuple(of), gather or model

    def gather(self, table: Any) -> Any:
        """The value of the model that a checked table of all keys stands for."""
        return self._gather(**{each.attribute: getattr(table, each.key) for each in self.options})

    def plain(self, value: Any) -> dict[str, Any]:
        found = ((each, getattr(value, each.attribute)) for each in self.options)
        return {each.key: each.plain(value) for each, value in found if value != each.usual}

    def text(self, value: Any) -> str:
        found = ((each, getattr(value, each.attribute)) for each in self.options)
        return ",".join(f"{each.key}={each.text(value)}" for each, value in found)

    def spelled(self, text: str) -> dict[str, Any]:
        kinds = {each.key: each.kind for each in self.options}
        found: dict[str, Any] = {}
        for said in text.split(","):
            key, equals, value = said.partition("=")
            if not equals:
                raise ConfigError(f"expected {self.metavar}, got {show(said)}")
            found[key] = kinds.get(key, self.options[0].kind).spelled(value)
        return found

    def takes(self) -> str:
        return "a table of its own"
