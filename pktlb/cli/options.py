"""Options as flags, and the texts that say several options at once.

Flags, their help and what they mean come from `pktlb.config.option`. Only what a flag says
otherwise than the file is here: `--backend ADDR:PORT,weight=2,...` and `--persist SECONDS/BITS`.
"""

import argparse
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from pktlb.cli.arguments import with_flag
from pktlb.config.group import Group
from pktlb.config.kinds import Many, Switch
from pktlb.config.option import Option, options
from pktlb.config.problem import show
from pktlb.config.service import Backend, Service
from pktlb.errors import ConfigError

Adder = argparse._ActionsContainer
"A parser, or a group of its flags."

SERVICE: Final = {each.key: each for each in options(Service)}
BACKEND: Final = {each.key: each for each in options(Backend)}
VIP: Final = SERVICE.pop("vip")
"It makes a service, and is no option of one."
ADDRESS: Final = BACKEND.pop("address")
_SHORT: Final = {each.short: each for each in BACKEND.values()}
_OFF: Final = {
    f"no-{each.short}": each
    for each in BACKEND.values()
    if isinstance(each.kind, Switch) and each.default is not False
}
"Options of a --backend that turn off what may be on if nothing is said."
_WIDTHS: Final = {4: "persist_prefix4", 16: "persist_prefix6"}
"Keys by the length of an address."


class _Dialect(NamedTuple):
    """What a flag says that its key does not."""

    metavar: str
    sentence: str


_DIALECTS: Final = {
    "persist": _Dialect(
        "SECONDS[/BITS[/BITS]]",
        ". BITS are --persist-prefix4 and --persist-prefix6; one alone is of the VIP's family",
    )
}


def meaning(option: Option) -> str:
    """What the help says of an option."""
    text = option.meaning + (_DIALECTS[option.key].sentence if option.key in _DIALECTS else "")
    default = f" (default: {option.default_text})" if option.default_text else ""
    return (text + default).replace("%", "%%")


def add_option(where: Adder, option: Option, *also: str, **how: Any) -> None:
    """The flag of an option, `also` other flags of it; `how` is what `add_argument` is told
    otherwise than usual."""
    kind, dialect = option.kind, _DIALECTS.get(option.key)
    usual: dict[str, Any] = {"help": meaning(option)}
    if isinstance(kind, Switch):
        usual["action"] = argparse.BooleanOptionalAction
    elif not how.get("choices"):
        usual["metavar"] = dialect.metavar if dialect else kind.metavar
    if isinstance(kind, Many):
        usual |= {"action": "append", "help": usual["help"] + "; may be repeated"}
    action = where.add_argument(option.flag, *also, **usual | how)
    action.words = kind.words  # type: ignore[attr-defined] # for completions


def add_options(where: Adder, of: Iterable[Option]) -> None:
    """Flags whose values the balancer checks that runs."""
    for each in of:
        is_plain = not isinstance(each.kind, Switch) and each.key not in _DIALECTS
        add_option(where, each, **{"type": each.kind.typed} if is_plain else {})


def add_on_remove(where: Adder) -> None:
    """The flag of a command that removes something."""
    where.add_argument(
        "--on-remove", choices=SERVICE["on_remove"].kind.words,
        help="what becomes of the open TCP connections (default: what the service says)",
    )  # fmt: skip


def _spelling(option: Option) -> str:
    """How an option of a --backend is said."""
    if not isinstance(option.kind, Switch):
        return f"{option.short}={option.kind.metavar}"
    off = [name for name, each in _OFF.items() if each is option]
    return " or ".join([option.short, *off])


def backend_help() -> str:
    """What --backend takes."""
    spelled = "; ".join(
        f"{_spelling(each)}: "
        + meaning(each)
        + ("; may be repeated" if isinstance(each.kind, Many | Group) else "")
        for each in BACKEND.values()
    )
    return f"{meaning(ADDRESS)}. Its options: {spelled}"


BACKEND_METAVAR: Final = "ADDR[:PORT][,weight=N][,OPTION...]"


def backend_keys(text: str) -> dict[str, Any]:
    """The keys of `[[service.backend]]` that a --backend says: its address, and options of it."""
    address, *said = text.split(",")
    found: dict[str, Any] = {ADDRESS.key: address}
    for item in said:
        name, equals, value = item.partition("=")
        option = _SHORT.get(name) or _OFF.get(name)
        if option is None or isinstance(option.kind, Switch) == bool(equals):
            known = (
                short + ("" if isinstance(each.kind, Switch) else "=...")
                for short, each in (_SHORT | _OFF).items()
            )
            raise ConfigError(
                f"--backend {text}: expected the options {', '.join(known)}, got the option "
                + show(item)
            )
        if isinstance(option.kind, Many):
            found.setdefault(option.key, []).append(value)
        elif isinstance(option.kind, Group):
            with with_flag("--backend", text):
                found.setdefault(option.key, {}).update(option.kind.spelled(value))
        else:
            found[option.key] = option.kind.spelled(value) if equals else name not in _OFF
    return found


def persisting(keys: Mapping[str, Any], families: Collection[int]) -> dict[str, Any]:
    """`keys` with those that the text `SECONDS[/BITS[/BITS]]` of `persist` says: bits of an IPv4
    address, of an IPv6 one. One alone is of the VIPs' `families`, lengths of addresses. A prefix
    that has a flag of its own counts for more."""
    text = str(keys["persist"])
    seconds, *bits = text.split("/")
    with with_flag("--persist", text):
        if len(bits) > len(_WIDTHS):
            raise ConfigError("expected SECONDS[/BITS[/BITS]]")
    lengths = sorted(families) if len(bits) == 1 else list(_WIDTHS)
    bits = bits * len(lengths) if len(bits) == 1 else bits
    said = {"persist": seconds, **dict(zip(map(_WIDTHS.get, lengths), bits, strict=False))}
    found = {str(key): SERVICE[str(key)].kind.spelled(value) for key, value in said.items()}
    return found | {key: value for key, value in keys.items() if key != "persist"}


def family(vip: str) -> int:
    """The length of a VIP's address, by its text alone, which may be wrong yet."""
    return 16 if vip.count(":") > 1 else 4


def plain(option: Option, value: Any) -> Any:
    """What the file has for what a flag says."""
    return option.kind.spelled(value) if isinstance(value, str) else value


def keys_given(flags: argparse.Namespace, of: Iterable[Option]) -> dict[str, Any]:
    """The keys of those options that stand on the command line, `persist` still as its text."""
    found = ((each, getattr(flags, each.dest, None)) for each in of)
    return {each.key: plain(each, value) for each, value in found if value is not None}
