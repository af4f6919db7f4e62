"""`pktlb completion`: what a shell has to know to complete pktlb's commands and flags."""

import argparse
from collections.abc import Iterator
from typing import Final

from pktlb.cli.arguments import Parser

SHELLS: Final = ("bash", "zsh", "tcsh", "fish")

_ASK: Final = """
_pktlb_ask() {
  pktlb status --json 2>/dev/null </dev/null |
    grep -o "\\"$1\\": *\\"[^\\"]*\\"" | cut -d'"' -f4 | sort -u
}
"""
"Names (`name`) or backends (`address`) of the running balancer; nothing where none runs."
_PREAMBLE: Final = {
    "bash": _ASK
    + """
_pktlb_services() { compgen -W "$(_pktlb_ask name)" -- "$1"; }
_pktlb_backends() { compgen -W "$(_pktlb_ask address)" -- "$1"; }
""",
    "zsh": _ASK
    + """
_pktlb_services() { compadd -- ${(f)"$(_pktlb_ask name)"}; }
_pktlb_backends() { compadd -- ${(f)"$(_pktlb_ask address)"}; }
""",
}


def _by(function: str) -> dict[str, object]:
    return {"bash": function, "zsh": function, "preamble": _PREAMBLE}


_LIVE: Final = {
    "SERVICE": _by("_pktlb_services"),
    "BACKEND": _by("_pktlb_backends"),
    "ADDRESS": _by("_pktlb_backends"),
}
"By metavar or name: what only a running balancer can tell."


def add_command(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "completion",
        help="print the completions of a shell",
        description="Print what lets a shell complete pktlb's commands and flags. bash: "
        '`eval "$(pktlb completion bash)"` in ~/.bashrc; zsh: into a file _pktlb in a directory '
        "of $fpath; tcsh: `pktlb completion tcsh | source /dev/stdin` in ~/.tcshrc. The Debian "
        "package has them in place.",
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS, help="whose completions")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> None:
    """Print them."""
    from pktlb.cli.main import make_parser  # noqa: PLC0415 - which knows this command

    print(complete(make_parser(), options.shell))


def complete(parser: Parser, shell: str) -> str:
    """The completions of a whole parser: what a word stands for is told by its name."""
    import shtab  # noqa: PLC0415 - nobody else needs it

    kinds = {"FILE": shtab.FILE, "PATH": shtab.FILE, "DIR": shtab.DIRECTORY} | _LIVE
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):
            for entry in action._get_subactions():  # one line, where a shell explains a command
                action.choices[entry.dest].description = entry.help
        named = [name for name in (action.metavar, action.dest.upper()) if name in kinds]
        if named and action.choices is None and action.nargs != 0:
            action.complete = kinds[str(named[0])]  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell=shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
