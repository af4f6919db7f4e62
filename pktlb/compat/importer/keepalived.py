"""The virtual servers of a keepalived.conf, as drafts of services.

Settings that decide about packets are carried over. Blocks that watch servers, or move addresses
between machines, are noted, each with what to do instead.
"""

import re
from typing import Any, Final

from pktlb.compat.importer import words
from pktlb.compat.importer.lost import lose, lose_behind
from pktlb.compat.importer.notes import Draft, Place, ServiceDraft
from pktlb.compat.importer.source import Source
from pktlb.compat.importer.tree import Statement, parse
from pktlb.compat.importer.vips import Vips, parse_port, read_vips
from pktlb.compat.ipvsadm.words import (
    DEFAULT_PERSIST_S,
    DEFAULT_SCHEDULER,
    MAX_SECONDS,
    MAX_THRESHOLD,
    UnsupportedError,
    persist_keys,
    scheduler_keys,
)
from pktlb.config.text import parse_address, parse_number
from pktlb.errors import ConfigError
from pktlb.model import Endpoint, format_address

_FLAG: Final = re.compile(r"(?:sh|mh)-(?:port|fallback)|flag-[123]")


def read(text: str, name: str, folder: str, follow: bool) -> Draft:
    """The draft of a file's text. Files that it includes are relative to its `folder`, and read if
    `follow` says so. Raises `ConfigError` if the text is no keepalived.conf."""
    draft = Draft()
    source = Source(draft, follow)
    statements = parse(source.lines(text, name, folder))
    known = words.TOP & {each.keyword for each in statements}
    if not known and (statements or not source.has_includes):
        raise ConfigError(
            f"{name}: expected a keepalived.conf, with virtual_server or another word of it at the "
            "top level"
        )
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
                lose(statement, draft, "no virtual_server uses it")
            else:
                lose_behind(Statement(statement.place, statement.words), draft, 2)
        elif statement.keyword == "global_defs":
            _global(statement, draft)
        else:
            lose(statement, draft, words.BLOCKS.get(statement.keyword, "not known to pktlb"))
    return draft


def _global(statement: Statement, draft: Draft) -> None:
    """global_defs: only the timeouts are about packets."""
    for each in statement.statements:
        if each.keyword != "lvs_timeouts":
            lose(each, draft, "is about keepalived itself", " (global_defs)")
            continue
        lose_behind(each, draft, 1 + (len(each.words) - 1) // 2 * 2)
        for name, text in zip(each.words[1::2], each.words[2::2], strict=False):
            key = {"tcp": "tcp", "tcpfin": "fin", "udp": "udp"}.get(name)
            try:
                if key is None:
                    raise ConfigError("expected tcp, tcpfin or udp")
                draft.timeouts[key] = parse_number(text, 1, MAX_SECONDS, "seconds")
            except ConfigError as error:
                lose(each, draft, str(error))


def _virtual_server(statement: Statement, groups: dict[str, Statement], draft: Draft) -> None:
    try:
        vips, label = read_vips(statement, groups, draft)
        service = _Service(statement, draft)
        keys = service.keys(vips, label)
    except ConfigError as error:
        lose(statement, draft, f"left out: {error}")
        return
    made = ServiceDraft(statement.place, keys, service.backends, service.by_weight)
    draft.services.append(made)


class _Service:
    """The settings of a virtual server, gathered from its statements."""

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
                self._lose_behind(each)
            elif _FLAG.fullmatch(each.keyword):
                self._flags.append(each.keyword)
                self._lose_behind(each)
            else:
                self.lose(each)
        self._proto = self._word("protocol", "TCP", words.PROTOCOLS)
        if self._proto != "udp" and (ops := self._told.pop("ops", None)) is not None:
            sentence = f"has no effect with protocol {self._proto.upper()}; written without it"
            lose(ops, draft, sentence, f" (virtual_server {self._label})")
        self._mode = self._word("lvs_method", "NAT", words.METHODS)
        self._check_tunnel(self._told.get("lvs_method"))
        scheduler = self._told.get("lvs_sched")
        self._scheduler = DEFAULT_SCHEDULER if scheduler is None else _argument(scheduler)
        self.by_weight = self._scheduler not in ("rr", "lc")
        self._reals = reals

    def lose(self, statement: Statement, about: str = "") -> None:
        """Note a statement that pktlb has nothing like."""
        sentence = words.LOST.get(statement.keyword, "not known to pktlb")
        if statement.keyword in words.CHECKS:
            sentence = words.NO_CHECKS
        lose(statement, self._draft, sentence, about or f" (virtual_server {self._label})")

    def _lose_behind(self, statement: Statement) -> None:
        known = 1 + words.BEHIND.get(statement.keyword, 0)
        if statement.words[2:3] == ["type"] and _CARRIED.get(statement.keyword) == "lvs_method":
            # The words behind a kind that pktlb does not have are noted with it.
            known = 4 if statement.words[3:4] == ["ipip"] else len(statement.words)
        lose_behind(statement, self._draft, known)

    def _check_tunnel(self, statement: Statement | None) -> None:
        """Note a kind of tunnel that pktlb does not have."""
        if statement is not None and statement.words[2:3] == ["type"]:
            if statement.words[3:4] == ["ipip"]:
                return
            text = f"{' '.join(statement.words)}: pktlb's tunnels are IP-in-IP"
            self._draft.note(statement.place, text)

    def keys(self, vips: Vips, name: str) -> dict[str, Any]:
        """The service in the keys of the configuration file. Raises `ConfigError`."""
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
        """The keys of the scheduler. One that pktlb does not have becomes the default one, and a
        flag that pktlb does not have is left out; both are noted."""
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
            lose(last, self._draft, "datagrams that stand alone have no persistence (ops)")
            return {}
        try:
            seconds = DEFAULT_PERSIST_S
            if statement is not None and len(statement.words) > 1:
                seconds = _number(statement, 0, MAX_SECONDS, "seconds")
            mask = None if granularity is None else _argument(granularity)
            return persist_keys(seconds, mask, is_ipv6=families == {16}) if seconds else {}
        except ConfigError as error:
            lose(last, self._draft, f"{error}; written without it")
            return {}

    def _word(self, keyword: str, default: str, known: dict[str, str]) -> str:
        statement = self._told.get(keyword)
        text = default if statement is None else _argument(statement)
        if text.upper() not in known:
            raise ConfigError(f"{keyword} {text}: expected one out of {', '.join(known)}")
        return known[text.upper()]

    def _take_reals(self, port: int | None) -> None:
        """Fill `backends`. `port` is the port of the service; None if it has several."""
        for statement in self._reals:
            try:
                self.backends.append((statement.place, self._real(statement, port)))
            except ConfigError as error:
                lose(statement, self._draft, f"left out: {error}")

    def _real(self, statement: Statement, port: int | None) -> dict[str, Any]:
        if not 2 <= len(statement.words) <= 3:
            raise ConfigError("expected ADDRESS PORT")
        address = parse_address(statement.words[1])
        its_port = parse_port(statement.words[2]) if len(statement.words) > 2 else 0
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
            if each.keyword in _REAL_CARRIED:
                self._lose_behind(each)
            else:
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
            lose(told["lthreshold"], self._draft, "means nothing without uthreshold")
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
"Words of a virtual server that are carried over, old and new, by the new name."
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
