"""ipvsadm's command line: which command, for which service and server, with which options.

Short options may stand together (`-Ln`). A value may follow at once (`-w5`) or as the next word;
long options take `--name value` or `--name=value`. Values are checked here as far as that is
possible without the balancer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pktlb.compat.ipvsadm.address import ServerAddress, ServiceAddress, parse_server, parse_service
from pktlb.compat.ipvsadm.words import UnsupportedError
from pktlb.errors import ConfigError

COMMANDS: Final = {
    "add-service": "A",
    "edit-service": "E",
    "delete-service": "D",
    "clear": "C",
    "restore": "R",
    "save": "S",
    "add-server": "a",
    "edit-server": "e",
    "delete-server": "d",
    "list": "L",
    "zero": "Z",
    "set": "set",
    "start-daemon": "start-daemon",
    "stop-daemon": "stop-daemon",
    "help": "h",
    "version": "v",
}
_WITH_VALUE: Final = {
    "tcp-service": "t",
    "udp-service": "u",
    "sctp-service": "sctp-service",
    "fwmark-service": "f",
    "scheduler": "s",
    "netmask": "M",
    "real-server": "r",
    "weight": "w",
    "u-threshold": "x",
    "l-threshold": "y",
    "sched-flags": "b",
    "pe": "pe",
    "tun-type": "tun-type",
    "tun-port": "tun-port",
    "mcast-interface": "mcast-interface",
    "syncid": "syncid",
}
_ALONE: Final = {
    "gatewaying": "g",
    "ipip": "i",
    "masquerading": "m",
    "numeric": "n",
    "ipv6": "6",
    "ops": "o",
    "connection": "c",
    "timeout": "timeout",
    "daemon": "daemon",
    "stats": "stats",
    "rate": "rate",
    "thresholds": "thresholds",
    "persistent-conn": "persistent-conn",
    "sort": "sort",
    "nosort": "nosort",
    "exact": "exact",
    "tun-nocsum": "tun-nocsum",
    "tun-csum": "tun-csum",
    "tun-remcsum": "tun-remcsum",
}
_LONG: Final = {**COMMANDS, **_WITH_VALUE, **_ALONE, "persistent": "p"}
_LETTERS: Final = frozenset(letter for letter in _LONG.values() if len(letter) == 1) | {"l"}
_TAKES: Final = frozenset(_WITH_VALUE.values())
_VERBS: Final = frozenset(COMMANDS.values())

SERVICES: Final = ("t", "u", "sctp-service", "f")
"Options that name a service; a command takes only one of them."
_SERVICE: Final = frozenset({*SERVICES, "6"})
_SERVER: Final = frozenset(
    {"r", "g", "i", "m", "w", "x", "y", "tun-type", "tun-port"}
    | {"tun-nocsum", "tun-csum", "tun-remcsum"}
)
_LISTING: Final = frozenset(
    {"n", "c", "timeout", "daemon", "stats", "rate", "thresholds", "persistent-conn"}
    | {"sort", "nosort", "exact"}
)
_LEGAL: Final[dict[str, frozenset[str]]] = {
    "A": _SERVICE | {"s", "p", "M", "b", "o", "pe"},
    "E": _SERVICE | {"s", "p", "M", "b", "o", "pe"},
    "D": _SERVICE,
    "C": frozenset(),
    "R": frozenset({"n"}),
    "S": frozenset({"n", "sort", "nosort"}),
    "a": _SERVICE | _SERVER,
    "e": _SERVICE | _SERVER,
    "d": _SERVICE | {"r"},
    "L": _SERVICE | _LISTING,
    "Z": _SERVICE,
    "set": frozenset(),
    "start-daemon": frozenset({"mcast-interface", "syncid"}),
    "stop-daemon": frozenset({"mcast-interface", "syncid"}),
    "h": frozenset(),
    "v": frozenset(),
}
"By command, the options that it may have."
_NEEDS_SERVICE: Final = frozenset("AEDaed")
_NEEDS_SERVER: Final = frozenset("aed")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of ipvsadm."""

    verb: str
    "The short option of the command, or its long one if it has no short one."
    service: ServiceAddress | None = None
    server: ServerAddress | None = None
    options: dict[str, str] = field(default_factory=dict)
    "By short option; empty for an option without a value."
    values: tuple[str, ...] = ()
    "The words behind --set, --start-daemon and --stop-daemon."

    def number(self, option: str, default: int, low: int, high: int) -> int:
        """The value of an option that takes a number. Raises `ConfigError`."""
        text = self.options.get(option)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
            name = next(name for name, letter in _LONG.items() if letter == option)
            raise ConfigError(f"--{name} {text}: expected a number in {low}..{high}")
        return int(text)


def parse(words: Sequence[str]) -> Command:
    """Parse a command line without the word ipvsadm. Names of hosts and ports are looked up.
    Raises `ConfigError`; `UnsupportedError` for what pktlb does not have."""
    verb, options, values = _scan(list(words))
    if verb is None:
        if options.keys() - {"n"}:
            raise ConfigError("expected a command such as -A, -a, -L or -h")
        verb = "L"
    _check(verb, options)
    service = _service(options)
    if service is None and verb in _NEEDS_SERVICE:
        raise ConfigError(f"-{verb}: expected a service: -t or -u ADDR:PORT")
    server = None
    if "r" in options and service is not None:
        server = parse_server(options["r"], service)
    elif verb in _NEEDS_SERVER:
        raise ConfigError(f"-{verb}: expected a server: -r ADDR[:PORT]")
    if verb == "set" and len(values) != 3:
        raise ConfigError("--set: expected three numbers of seconds: tcp tcpfin udp")
    return Command(verb, service, server, options, tuple(values))


def _scan(words: list[str]) -> tuple[str | None, dict[str, str], list[str]]:
    """The command, the options, which may have any order, and all other words."""
    verb: str | None = None
    options: dict[str, str] = {}
    values: list[str] = []
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            values.append(word)
            continue
        for option, value in _options(word, words):
            if option not in _VERBS:
                if option in options:
                    raise ConfigError(f"{word}: expected each option once")
                options[option] = value
            elif verb is not None:
                raise ConfigError(f"{word}: expected one command")
            else:
                verb = option
    if values and verb not in ("set", "start-daemon", "stop-daemon"):
        raise ConfigError(f"{values[0]!r}: expected an option")
    return verb, options, values


def _options(word: str, rest: list[str]) -> list[tuple[str, str]]:
    """The options in one word, with their values. A value may be the next word, off `rest`."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        option = _LONG.get(name)
        if option is None:
            raise ConfigError(f"--{name}: unknown option (see `ipvsadm --help`)")
        if option in _TAKES or option == "p":
            return [(option, value if equals else _value(option, word, rest))]
        if equals:
            raise ConfigError(f"--{name}: expected no value")
        return [(option, "")]
    found = []
    for place, letter in enumerate(word[1:], 1):
        if letter not in _LETTERS:
            raise ConfigError(f"-{letter}: unknown option (see `ipvsadm --help`)")
        option = "L" if letter == "l" else letter
        if option in _TAKES or option == "p":
            attached = word[place + 1 :].removeprefix("=")
            found.append((option, attached or _value(option, f"-{letter}", rest)))
            break
        found.append((option, ""))
    return found


def _value(option: str, word: str, rest: list[str]) -> str:
    """Take the next word as the value of an option. That of -p may be missing."""
    if option == "p":
        return rest.pop(0) if rest and rest[0][:1].isdigit() else ""
    if not rest:
        raise ConfigError(f"{word}: expected a value")
    return rest.pop(0)


def _check(verb: str, options: dict[str, str]) -> None:
    """Raise `ConfigError` for options that may not stand together."""
    for option in options:
        if option not in _LEGAL[verb]:
            dashes = "-" if len(option) == 1 else "--"
            command = f"-{verb}" if len(verb) == 1 else f"--{verb}"
            raise ConfigError(f"{dashes}{option}: does not go with {command}")
    for several in (SERVICES, ("g", "i", "m"), ("sort", "nosort"), ("stats", "rate", "c")):
        if len(given := [option for option in several if option in options]) > 1:
            listed = " and ".join(f"{'-' if len(o) == 1 else '--'}{o}" for o in given)
            raise ConfigError(f"{listed}: expected one of them")
    if "M" in options and "p" not in options:
        raise ConfigError("-M: expected -p, whose clients it puts together")


def _service(options: dict[str, str]) -> ServiceAddress | None:
    for option, proto in (("t", "tcp"), ("u", "udp")):
        if option in options:
            return parse_service(options[option], proto)
    if "f" in options:
        raise UnsupportedError(
            f"-f {options['f']}: pktlb knows no firewall marks; name what the mark stands for: a "
            "range of ports or a whole address (`pktlb service add`, docs/migrating.md)"
        )
    if "sctp-service" in options:
        raise UnsupportedError(
            "--sctp-service: pktlb balances SCTP by addresses: `pktlb service add` with ADDR/sctp"
        )
    return None
