"""Checks a document against a JSON Schema, as far as pktlb's schema needs it."""

from collections.abc import Iterator
from typing import Any, Final

_KINDS: Final[dict[str, type]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
}
_ENDS: Final = {
    "integer": ("minimum", "maximum"),
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
}


def mistakes(
    thing: Any, told: dict[str, Any], root: dict[str, Any], where: str = ""
) -> Iterator[str]:
    """The paths of all values that the schema does not permit."""
    if "$ref" in told:
        told = root["$defs"][told["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in told:
        if all(list(mistakes(thing, each, root, where)) for each in told["anyOf"]):
            yield where
    elif not _fits(thing, told):
        yield where
    elif isinstance(thing, list):
        for place, item in enumerate(thing):
            yield from mistakes(item, told["items"], root, f"{where}[{place}]")
    elif isinstance(thing, dict):
        for key in {*thing, *told.get("required", ())}:
            if key in thing and key in told["properties"]:
                yield from mistakes(thing[key], told["properties"][key], root, f"{where}.{key}")
            else:
                assert told["additionalProperties"] is False
                yield f"{where}.{key}"


def _fits(thing: Any, told: dict[str, Any]) -> bool:
    """Whether a value has the right type and size, or is one that the schema lists."""
    if "enum" in told:
        return thing in told["enum"]
    kind = told["type"]
    if type(thing) is not _KINDS[kind]:
        return False
    if kind not in _ENDS:
        return True
    low, high = _ENDS[kind]
    size = _size(thing)
    return bool(told.get(low, size) <= size <= told.get(high, size))


def _size(thing: Any) -> int:
    return thing if isinstance(thing, int) else len(thing)
