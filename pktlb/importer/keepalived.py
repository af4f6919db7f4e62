"""keepalived.conf's virtual servers, as services to be.

What decides about packets is carried over. What watches servers or moves addresses between
machines is noted, block by block, with what to do instead.
"""

import re
from typing import Any, Final

from pktlb.config import parse_address, parse_number
from pktlb.errors import ConfigError
from pktlb.importer import words
from pktlb.importer.notes import Draft, Place, ServiceDraft
from pktlb.importer.source import Source
from pktlb.importer.tree import Statement, parse
from pktlb.ipvsadm.words import (
    DEFAULT_PERSIST_S,
    DEFAULT_SCHEDULER,
    MAX_SECONDS,
    MAX_THRESHOLD,
    UnsupportedError,
    persist_keys,
    scheduler_keys,
)
from pktlb.model import Endpoint, format_address

_MAX_RANGE: Final = 65536
_FLAG: Final = re.compile(r"(?:sh|mh)-(?:port|fallback)|flag-[123]")
_Vips = list[tuple[bytes, int]]


def read(text: str, name: str, folder: str, follow: bool) -> Draft:
    """What can be carried over of a file's text."""
    draft = Draft()
    statements = parse(Source(draft, follow).lines(text, name, folder))
    groups = {
        statement.words[1]: statement
        for statement in statements
        if statement.keyword == "virtual_server_group" and len(statement.words) > 1
    }
    used = {
        statement.words[2]
        for statement in statements
        if statement.keyword == "virtual_server" and statement.words[1:2] == ["group"]
        if len(statement.words) > 2
    }
    for statement in statements:
        if statement.keyword == "virtual_server":
            _virtual_server(statement, groups, draft)
        elif statement.keyword == "virtual_server_group":
            if not used & {*statement.words[1:2]}:
                _lose(statement, draft, "no virtual_server uses it")
        elif statement.keyword == "global_defs":
            _global(statement, draft)
        else:
            _lose(statement, draft, words.BLOCKS.get(statement.keyword, "not known to pktlb"))
    return draft


def _lose(statement: Statement, draft: Draft, sentence: str, about: str = "") -> None:
    title = " ".join(statement.words[:2] if statement.body is not None else statement.words)
    text = f"{title}{about}: {sentence}"
    draft.note(statement.place, text, tuple(statement.lines()))


def _global(statement: Statement, draft: Draft) -> None:
    """All of it is about keepalived itself, but for the timeouts."""
    for each in statement.statements:
        if each.keyword != "lvs_timeouts":
            _lose(each, draft, "is about keepalived itself", " (global_defs)")
            continue
        for name, text in zip(each.words[1::2], each.words[2::2], strict=False):
            key = {"tcp": "tcp", "tcpfin": "fin", "udp": "udp"}.get(name)
            try:
                if key is None:
                    raise ConfigError("expected tcp, tcpfin or udp")
                draft.timeouts[key] = parse_number(text, 1, MAX_SECONDS, "seconds")
            except ConfigError as error:
                _lose(each, draft, str(error))


def _virtual_server(statement: Statement, groups: dict[str, Statement], draft: Draft) -> None:
    try:
        vips, label = _vips(statement, groups, draft)
        service = _Service(statement, draft)
        keys = service.keys(vips, label)
    except ConfigError as error:
        _lose(statement, draft, f"left out: {error}")
        return
    made = ServiceDraft(statement.place, keys, service.backends, service.by_weight)
    draft.services.append(made)


def _vips(
    statement: Statement, groups: dict[str, Statement], draft: Draft
) -> tuple[_Vips, str]:  # fmt: skip
    """The addresses and ports that a virtual server is for, and what it is called."""
    match statement.words[1:]:
        case ["fwmark", *_]:
            raise UnsupportedError(
                "pktlb knows no firewall marks: name what the mark stands for, as a list of VIPs "
                "or a range of ports"
            )
        case ["group", name]:
            if name not in groups:
                raise ConfigError(f"there is no virtual_server_group {name}")
            found: _Vips = []
            for entry in groups[name].statements:
                try:
                    found += _entry(entry)
                except ConfigError as error:
                    _lose(entry, draft, str(error), f" (virtual_server_group {name})")
            if not found:
                raise ConfigError(f"virtual_server_group {name} has no addresses")
            return found, name
        case [address]:
            return [(parse_address(address), 0)], ""
        case [address, port]:
            return [(parse_address(address), _port(port))], ""
        case _:
            raise ConfigError("expected ADDRESS PORT, group NAME or fwmark NUMBER")


def _entry(entry: Statement) -> _Vips:
    """A line of a group: an address, or a range whose last number goes up to another."""
    if entry.keyword == "fwmark":
        raise UnsupportedError("pktlb knows no firewall marks: name the addresses and ports")
    port = _port(entry.words[1]) if len(entry.words) > 1 else 0
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


def _port(text: str) -> int:
    return parse_number(text, 0, 65535, "a port")


class _Service:
    """One virtual server's settings, gathered from its statements."""

    def __init__(self, statement: Statement, draft: Draft) -> None:
        self.place, self._draft = statement.place, draft
        self._label = " ".join(statement.words[1:])
        self.backends: list[tuple[Place, dict[str, Any]]] = []
        self._told: dict[str, Statement] = {}
        self._flags: list[str] = []
        reals = []
        for each in statement.statements:
            if each.keyword == "real_server":
                reals.append(each)
            elif each.keyword in _CARRIED:
                self._told[_CARRIED[each.keyword]] = each
            elif _FLAG.fullmatch(each.keyword):
                self._flags.append(each.keyword)
            else:
                self.lose(each)
        self._proto = self._word("protocol", "TCP", words.PROTOCOLS)
        self._mode = self._word("lvs_method", "NAT", words.METHODS)
        self._check_tunnel(self._told.get("lvs_method"))
        scheduler = self._told.get("lvs_sched")
        self._scheduler = DEFAULT_SCHEDULER if scheduler is None else _argument(scheduler)
        self.by_weight = self._scheduler not in ("rr", "lc")
        self._reals = reals

    def lose(self, statement: Statement, about: str = "") -> None:
        """Notes a statement without a counterpart."""
        sentence = words.LOST.get(statement.keyword, "not known to pktlb")
        if statement.keyword in words.CHECKS:
            sentence = words.NO_CHECKS
        _lose(statement, self._draft, sentence, about or f" (virtual_server {self._label})")

    def _check_tunnel(self, statement: Statement | None) -> None:
        """A tunnel may be of a kind that pktlb does not have."""
        if statement is not None and statement.words[2:] not in ([], ["type", "ipip"]):
            text = f"{' '.join(statement.words)}: pktlb's tunnels are IP-in-IP"
            self._draft.note(statement.place, text)

    def keys(self, vips: _Vips, name: str) -> dict[str, Any]:
        """The service in the keys of the configuration file."""
        if self._proto == "sctp" and any(port for _, port in vips):
            raise UnsupportedError("pktlb balances SCTP by addresses: ADDR/sctp, all ports of it")
        texts = [f"{Endpoint(*vip)}/{self._proto}" for vip in dict.fromkeys(vips)]
        ports = {port for _, port in vips}
        self._take_reals(ports.pop() if len(ports) == 1 else None)
        keys: dict[str, Any] = {"name": name} if name else {}
        keys |= {"vip": texts if len(texts) > 1 else texts[0], "mode": self._mode}
        keys |= self._choice()
        if "ops" in self._told:
            keys["one_packet"] = True
        keys |= self._persistence({len(address) for address, _ in vips})
        return keys

    def _choice(self) -> dict[str, Any]:
        """A scheduler without a counterpart becomes the default one, a flag is left out."""
        try:
            return scheduler_keys(self._scheduler, tuple(self._flags))
        except ConfigError as error:
            place = self._told["lvs_sched"].place if "lvs_sched" in self._told else self.place
            self._draft.note(place, f"{error}; written without it")
        try:
            return scheduler_keys(self._scheduler)
        except ConfigError:
            return scheduler_keys(DEFAULT_SCHEDULER)

    def _persistence(self, families: set[int]) -> dict[str, Any]:
        statement = self._told.get("persistence_timeout")
        granularity = self._told.get("persistence_granularity")
        if statement is None and granularity is None:
            return {}
        last = statement or granularity
        assert last is not None, "one of them is there"
        if "ops" in self._told:
            _lose(last, self._draft, "datagrams that stand alone have no persistence (ops)")
            return {}
        try:
            seconds = DEFAULT_PERSIST_S
            if statement is not None and len(statement.words) > 1:
                seconds = _number(statement, 0, MAX_SECONDS, "seconds")
            mask = None if granularity is None else _argument(granularity)
            return persist_keys(seconds, mask, is_ipv6=families == {16}) if seconds else {}
        except ConfigError as error:
            _lose(last, self._draft, f"{error}; written without it")
            return {}

    def _word(self, keyword: str, default: str, known: dict[str, str]) -> str:
        statement = self._told.get(keyword)
        text = default if statement is None else _argument(statement)
        if text.upper() not in known:
            raise ConfigError(f"{keyword} {text}: expected one out of {', '.join(known)}")
        return known[text.upper()]

    def _take_reals(self, port: int | None) -> None:
        """`port`: the one that the service is dialled at, if it is one."""
        for statement in self._reals:
            try:
                self.backends.append((statement.place, self._real(statement, port)))
            except ConfigError as error:
                _lose(statement, self._draft, f"left out: {error}")

    def _real(self, statement: Statement, port: int | None) -> dict[str, Any]:
        if not 2 <= len(statement.words) <= 3:
            raise ConfigError("expected ADDRESS PORT")
        address = parse_address(statement.words[1])
        its_port = _port(statement.words[2]) if len(statement.words) > 2 else 0
        told = {
            each.keyword: each for each in statement.statements if each.keyword in _REAL_CARRIED
        }
        mode = self._mode
        if "lvs_method" in told:
            method = _argument(told["lvs_method"]).upper()
            if method not in words.METHODS:
                raise ConfigError(f"lvs_method: expected one out of {', '.join(words.METHODS)}")
            mode = words.METHODS[method]
            self._check_tunnel(told["lvs_method"])
        if mode != "nat" or its_port == port or self._proto == "sctp":
            if its_port not in (0, port):
                text = f"real_server: mode {mode} rewrites no ports: the one dialled"
                self._draft.note(statement.place, text)
            its_port = port or 0
        keys: dict[str, Any] = {"address": str(Endpoint(address, its_port))}
        if mode != self._mode:
            keys["mode"] = mode
        keys |= self._numbers(told)
        where = f" (real_server {format_address(address)})"
        for each in statement.statements:
            if each.keyword not in _REAL_CARRIED:
                self.lose(each, where)
        return keys

    def _numbers(self, told: dict[str, Statement]) -> dict[str, Any]:
        weight = told.get("weight") or self._told.get("weight")
        keys: dict[str, Any] = {}
        if weight is not None:
            keys["weight"] = _number(weight, 0, 65535, "a weight")
        upper = lower = 0
        if "uthreshold" in told:
            upper = _number(told["uthreshold"], 0, MAX_THRESHOLD, "connections")
        if "lthreshold" in told:
            lower = _number(told["lthreshold"], 0, MAX_THRESHOLD, "connections")
        if upper:
            keys["max_connections"] = upper
        if upper and lower:
            keys["resume_connections"] = lower
        elif lower:
            _lose(told["lthreshold"], self._draft, "means nothing without uthreshold")
        return keys


_CARRIED: Final = {
    "lvs_sched": "lvs_sched",
    "lb_algo": "lvs_sched",
    "lvs_method": "lvs_method",
    "lb_kind": "lvs_method",
    "persistence_timeout": "persistence_timeout",
    "persistence_granularity": "persistence_granularity",
    "protocol": "protocol",
    "ops": "ops",
    "weight": "weight",
    "ip_family": "ip_family",
}
"Words of a virtual server that are carried over, old names and new."
_REAL_CARRIED: Final = frozenset({"weight", "lvs_method", "uthreshold", "lthreshold"})


def _argument(statement: Statement) -> str:
    if len(statement.words) < 2:
        raise ConfigError(f"{statement.place}: {statement.keyword}: expected a value")
    return statement.words[1]


def _number(statement: Statement, low: int, high: int, what: str) -> int:
    try:
        return parse_number(_argument(statement), low, high, what)
    except ConfigError as error:
        raise ConfigError(f"{statement.place}: {statement.keyword}: {error}") from error
