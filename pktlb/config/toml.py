"""A `Config` as the text of a file, for people to read and go on from."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pktlb.config.bounds import MAX_VIPS
from pktlb.config.config import Config
from pktlb.config.objects import balancer_object, service_object

HEADER: Final = """\
# Configuration of pktlb. What is not said here has its default.
# `pktlb check FILE` says what is wrong with a file, `pktlb run -c FILE` works by it.
"""


def write(config: Config) -> str:
    """The text that `read` makes the same configuration of."""
    parts = [HEADER]
    if balancer := balancer_object(config):
        parts += _tables("[balancer]", balancer)
    for keys in _services(config):
        backends = keys.pop("backend", [])
        parts += _tables("[[service]]", keys)
        for backend in backends:
            parts += _tables("[[service.backend]]", backend)
    return "\n".join(parts)


def _services(config: Config) -> Iterator[dict[str, Any]]:
    """Neighbours of one name that differ in their VIP alone share a table."""
    last: dict[str, Any] = {}
    vips: list[str] = []
    for service in config.services:
        keys = service_object(service, config)
        vip = keys["vip"]
        if service.name and {**last, "vip": vip} == keys and len(vips) < MAX_VIPS:
            vips.append(vip)
            last["vip"] = vips
            continue
        if last:
            yield last
        last, vips = keys, [vip]
    if last:
        yield last


def _tables(head: str, keys: Mapping[str, Any]) -> Iterator[str]:
    """A table, and those inside it."""
    inner = {key: value for key, value in keys.items() if isinstance(value, dict)}
    yield _table(head, {key: value for key, value in keys.items() if key not in inner})
    for key, value in inner.items():
        yield _table(f"[{head.strip('[]')}.{key}]", value)


def _table(head: str, keys: Mapping[str, Any]) -> str:
    return "".join([head + "\n", *(f"{key} = {_value(value)}\n" for key, value in keys.items())])


def _value(value: object) -> str:
    """As JSON writes texts, whole numbers, true and false, so does TOML."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
