"""The addresses and ports that a virtual_server of keepalived is for."""

import re
from typing import Final

from pktlb.compat.importer.lost import lose, lose_behind
from pktlb.compat.importer.notes import Draft
from pktlb.compat.importer.tree import Statement
from pktlb.compat.ipvsadm.words import UnsupportedError
from pktlb.config.text import parse_address, parse_number
from pktlb.errors import ConfigError

_MAX_RANGE: Final = 65536
Vips = list[tuple[bytes, int]]


def read_vips(
    statement: Statement, groups: dict[str, Statement], draft: Draft
) -> tuple[Vips, str]:  # fmt: skip
    """The addresses and ports that a virtual server is for, and its name, which may be empty.
    Raises `ConfigError`."""
    match statement.words[1:]:
        case ["fwmark", *_]:
            raise UnsupportedError(
                "pktlb knows no firewall marks: name what the mark stands for, as a list of VIPs "
                "or a range of ports"
            )
        case ["group", name]:
            if name not in groups:
                raise ConfigError(f"there is no virtual_server_group {name}")
            found: Vips = []
            for entry in groups[name].statements:
                try:
                    found += _entry(entry)
                    lose_behind(entry, draft, 2)
                except ConfigError as error:
                    lose(entry, draft, str(error), f" (virtual_server_group {name})")
            if not found:
                raise ConfigError(f"virtual_server_group {name} has no addresses")
            return found, name
        case [address]:
            return [(parse_address(address), 0)], ""
        case [address, port]:
            return [(parse_address(address), parse_port(port))], ""
        case _:
            raise ConfigError("expected ADDRESS PORT, group NAME or fwmark NUMBER")


def _entry(entry: Statement) -> Vips:
    """A line of a group: an address, or a range such as 10.0.0.1-10 of its last number."""
    if entry.keyword == "fwmark":
        raise UnsupportedError("pktlb knows no firewall marks: name the addresses and ports")
    port = parse_port(entry.words[1]) if len(entry.words) > 1 else 0
    first, dash, last = entry.keyword.partition("-")
    if "/" in entry.keyword:
        raise UnsupportedError("give each address: pktlb has no networks as VIPs")
    address = parse_address(first)
    if not dash:
        return [(address, port)]
    base, bits = (10, 8) if len(address) == 4 else (16, 16)
    if not re.fullmatch(r"[0-9a-fA-F]{1,4}", last) or (base == 10 and not last.isdigit()):
        raise ConfigError("expected a range such as 10.0.0.1-10")
    start = int.from_bytes(address, "big")
    low, high = start % (1 << bits), int(last, base)
    if not low <= high < min(low + _MAX_RANGE, 1 << bits):
        raise ConfigError("expected a range such as 10.0.0.1-10, the lower number first")
    return [
        ((start + step).to_bytes(len(address), "big"), port) for step in range(high - low + 1)
    ]  # fmt: skip


def parse_port(text: str) -> int:
    """A port; 0 stands for all ports. Raises `ConfigError`."""
    return parse_number(text, 0, 65535, "a port")
