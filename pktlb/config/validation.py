"""One table through its pydantic model: the errors in our words, and what is left without them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pktlb.config.config import Config
from pktlb.config.group import Group
from pktlb.config.keys import INSIDE, Table
from pktlb.config.option import options
from pktlb.config.problem import MAX_PROBLEMS, Path, Problem, did_you_mean, show
from pktlb.config.service import Backend, Service

Model = TypeVar("Model", bound=Table)

_REQUIRED: Final = {
    each.key: each.kind.expected
    for model in (Config, Service, Backend)
    for option in options(model)
    for each in (option, *(option.kind.options if isinstance(option.kind, Group) else ()))
    if each.is_required
}
"What is expected for keys that have to be there."
_TRIES: Final = 4
"To leave out an item, then the list that is empty without it, then the table that needs the list."
_LEVELS: Final = 5
"A service, its list of backends, a backend, a table in it, a list in that."
_GONE: Final = object()


@dataclass(slots=True)
class Right(Generic[Model]):
    """What of a table is right."""

    table: Model
    left: dict[str, list[int]] = field(default_factory=dict)
    "The places of the items that are left of lists from which some were left out."

    def places(self, key: str, size: int) -> Sequence[int]:
        """The place of each item of a list, as it was written."""
        return self.left.get(key, range(size))


def validated(
    model: type[Model], raw: object, path: Path, problems: list[Problem]
) -> Right[Model] | None:
    """A table as far as it is right; None where nothing is. What is wrong goes to `problems`."""
    try:
        return Right(model.model_validate(raw))
    except ValidationError as error:
        errors = error.errors(include_url=False)
    for each in errors:
        problems.append(_problem(model, each, raw, path, hint=len(problems) < MAX_PROBLEMS))
    rest = _copied(raw)
    left: dict[str, list[int]] = {}
    for _ in range(_TRIES):
        if not isinstance(rest, dict) or not _leave_out(rest, errors, left):
            break
        try:
            return Right(model.model_validate(rest), left)
        except ValidationError as error:
            errors = error.errors(include_url=False)
    return None


def _copied(raw: Any, levels: int = _LEVELS) -> Any:
    """A copy as deep as tables are in each other, and no deeper, whatever is in them."""
    if levels and isinstance(raw, dict):
        return {key: _copied(value, levels - 1) for key, value in raw.items()}
    if levels and isinstance(raw, list):
        return [_copied(value, levels - 1) for value in raw]
    return raw


def _leave_out(
    rest: dict[str, Any], errors: Sequence[ErrorDetails], left: dict[str, list[int]]
) -> bool:
    """Take what is wrong out of a table; whether there is a table then."""
    for error in errors:
        where = error["loc"][:-1] if error["type"] == "missing" else error["loc"]
        if not where:
            return False
        _mark(rest, where)
    for key in [key for key, value in rest.items() if value is _GONE]:
        del rest[key]
    for key, value in rest.items():
        if isinstance(value, list) and any(item is _GONE for item in value):
            before = left.get(key, range(len(value)))
            left[key] = [p for p, item in zip(before, value, strict=True) if item is not _GONE]
    _clean(rest)
    return True


def _clean(value: Any, levels: int = _LEVELS) -> None:
    """Take `_GONE` out of a copy that `_copied` made."""
    if not levels or not isinstance(value, dict | list):
        return
    if isinstance(value, dict):
        for key in [key for key, each in value.items() if each is _GONE]:
            del value[key]
    else:
        value[:] = [each for each in value if each is not _GONE]
    for each in value.values() if isinstance(value, dict) else value:
        _clean(each, levels - 1)


def _mark(rest: Any, where: tuple[int | str, ...]) -> None:
    """Put `_GONE` in the place of what is wrong, or of what it is in that has no places."""
    for step, part in enumerate(where):
        inner = rest[part]
        if step == len(where) - 1 or not isinstance(inner, dict | list):
            rest[part] = _GONE
            return
        rest = inner


def _problem(
    model: type[Table], error: ErrorDetails, raw: Any, path: Path, hint: bool
) -> Problem:  # fmt: skip
    where = error["loc"]
    for part in where[:-1]:
        model = INSIDE.get(model, {}).get(part, model)
        raw = raw[part]
    if where and isinstance(where[-1], int) and isinstance(raw, str):
        where = where[:-1]  # one text that stands for a list of one
    return Problem((*path, *where), _sentence(model, error, hint))


def _sentence(model: type[Table], error: ErrorDetails, hint: bool) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "setting":
        return str(context["what"])
    if kind == "extra_forbidden":
        return unknown_key(model, error["loc"][-1], value, hint)
    if kind == "missing":
        return f"expected {_REQUIRED[str(error['loc'][-1])]}, got nothing"
    if kind == "too_short":
        return "expected at least one, got none"
    if kind == "too_long":
        return f"expected {context['max_length']} at most, got {context['actual_length']}"
    if kind == "model_type":
        return f"expected a table, got {show(value)}"
    if kind == "list_type":
        is_tables = error["loc"][-1] == "backend"
        return (
            f"expected {'a list of tables' if is_tables else 'a text or a list'}, got {show(value)}"
        )
    return f"expected keys that are text, got {show(value)}"  # the one error that is left


def unknown_key(model: type[Table], key: object, value: object, hint: bool) -> str:
    """What is said of a key that a table does not have; a hint takes long to find."""
    found = did_you_mean(key, model.model_fields) if hint else ""
    return f"unknown key, got {show(value)}{found}"
