"""An option of the configuration, said once.

Options are the fields of `Service`, `Backend` and `Config` (and of the model's `Timeouts`): a field
whose metadata are those of `option` is one. All that names options is made of `options`: the keys
of the file and of the API with their JSON Schema, flags with their help, the manual, completions,
the tables of docs/configuration.md, and what differs between two configurations.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, Final, NamedTuple

from pktlb.config.kinds import Kind

_METADATA: Final = "pktlb option"
_NOTHING: Final[Mapping[str, Any]] = {}


class Beside(NamedTuple):
    """What has to be true of a `Service`, `Backend` or `Config` that says an option."""

    expected: str
    'What is expected beside it, such as "scheduler hash".'
    holds: Callable[[Any], bool]
    "Asked where the option is not as it would be if nothing were said."
    got: str = ""
    "The attribute that is shown as what is there instead; none: the option itself."


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Option:
    """One option."""

    attribute: str
    "The name of its field in the model."
    usual: Any
    "Value of the attribute where nothing is said; MISSING: it is always said."
    kind: Kind
    sentence: str
    key: str
    "Its name in the file and in the API."
    flag: str
    short: str
    "Its name among the options of a --backend."
    default: Any
    "What is shown as its default, as a value of the model; MISSING: it has to be said."
    beside: tuple[Beside, ...] = ()
    live: bool = True
    "Whether a reload changes it; else only a restart does."
    over_file: bool = False
    "Whether its flag of `pktlb run` may stand beside --config, and counts for more."
    show: Callable[[Any], Any] | None = None

    @property
    def is_required(self) -> bool:
        """Whether it has to be said."""
        return self.default is MISSING

    @property
    def dest(self) -> str:
        """argparse's name of its flag."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def meaning(self) -> str:
        """Its sentence, with what is expected beside it."""
        return "; ".join([self.sentence, *(f"expects {rule.expected}" for rule in self.beside)])

    def plain(self, value: Any) -> Any:
        """What the file and the API have for a value of the model."""
        return (self.show or self.kind.plain)(value)

    @property
    def plain_default(self) -> Any:
        """The default as the file would say it; None where there is none that a file can say."""
        is_said = self.is_required or self.default in (None, "", ())
        return None if is_said else self.plain(self.default)

    def text(self, value: Any) -> str:
        """The text of a flag that stands for a value of the model."""
        return str(self.show(value)) if self.show else self.kind.text(value)

    def differs(self, before: object, after: object) -> bool:
        """Whether two of its model have other values of it."""
        return bool(getattr(before, self.attribute) != getattr(after, self.attribute))

    @property
    def default_text(self) -> str:
        """The default as the text of a flag; empty where the sentence tells what happens without
        the option, and of switches, which are off."""
        is_told = self.is_required or self.default in (None, "", ()) or self.default is False
        return "" if is_told else self.text(self.default)


def option(kind: Kind, sentence: str, **more: Any) -> Mapping[str, Any]:
    """The metadata of a field that is an option. `more` are attributes of `Option`. What is not
    among them comes from the field: its name is the key, and the key makes the flag."""
    return {_METADATA: {"kind": kind, "sentence": sentence, **more}}


@cache
def options(model: Any) -> tuple[Option, ...]:
    """The options of a dataclass, in the order of its fields."""
    return tuple(
        _made(field.name, field.default, field.metadata[_METADATA])
        for field in fields(model)
        if _METADATA in field.metadata
    )


def said(owner: Any, of: Iterable[Option], usual: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """The keys and plain values of the options that are not as they would be if nothing were said.
    `usual` has what would be in place of `Option.usual`, by attribute."""
    found = {}
    for each in of:
        value = getattr(owner, each.attribute)
        if value != usual.get(each.attribute, each.usual):
            found[each.key] = each.plain(value)
    return found


def _made(attribute: str, usual: Any, said: Mapping[str, Any]) -> Option:
    key = said.get("key", attribute)
    derived = {"key": key, "flag": "--" + key.replace("_", "-"), "short": key, "default": usual}
    return Option(**{"attribute": attribute, "usual": usual, **derived, **said})
