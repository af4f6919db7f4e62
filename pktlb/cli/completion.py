"""`pktlb completion`: what a shell has to know to complete pktlb's commands and flags."""

import argparse
from collections.abc import Iterator
from typing import Final

from pktlb.cli.arguments import Parser

SHELLS: Final = ("bash", "zsh", "tcsh", "fish")

_ASK: Final = r"""
_pktlb_status() {
  pktlb status --json 2>/dev/null </dev/null | grep -oE '"(name|vip|address)": *"[^"]*"'
}

# $1=what is typed of it: names; VIPs only when something is, and names do not fit
_pktlb_names() {
  _pktlb_status | typed=$1 awk -F '"' '
    $2 == "vip" { names[++count] = name; vips[count] = $4 }
    { name = $4 }
    END {
      for (i = 1; i <= count; i++) fit += index(names[i], ENVIRON["typed"]) == 1
      for (i = 1; i <= count; i++) print fit ? names[i] : vips[i]
    }' | sort -u
}

# $@=words of the line: the backends of services that are among them, else of all
_pktlb_addresses() {
  _pktlb_status | asked=" $* " awk -F '"' '
    function is_named(text) { return index(ENVIRON["asked"], " " text " ") }
    $2 == "vip" {
      wanted = is_named(name) || is_named($4)
      if (sub("/tcp$", "", $4) && is_named($4)) wanted = 1
      any = any || wanted
    }
    $2 == "address" { all[++count] = $4; is_wanted[count] = wanted }
    { name = $4 }
    END { for (i = 1; i <= count; i++) if (is_wanted[i] || !any) print all[i] }' | sort -u
}
"""
"""What the running balancer has; nothing where none runs. A service's name stands before its VIP,
its backends behind it."""
_PREAMBLE: Final = {
    "bash": _ASK
    + r"""
# $1=what is typed: the lines that begin with it
_pktlb_fit() {
  local line
  while IFS= read -r line; do
    [[ $line != "$1"* ]] || printf '%s\n' "$line"
  done
}
_pktlb_services() { _pktlb_names "$1" | _pktlb_fit "$1"; }
_pktlb_backends() { _pktlb_addresses "${COMP_WORDS[@]:3:COMP_CWORD-3}" | _pktlb_fit "$1"; }
""",
    "zsh": _ASK
    + r"""
_pktlb_services() { compadd -- ${(f)"$(_pktlb_names "$PREFIX")"}; }
_pktlb_backends() { compadd -- ${(f)"$(_pktlb_addresses "${(@)words[2,CURRENT-1]}")"}; }
""",
}
_WHOLE_WORDS: Final = r"""
_pktlb() {
  local rest=${COMP_LINE:0:COMP_POINT} gap word last= typed i
  local -a words=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    gap=${rest%%[![:space:]]*}
    rest=${rest#"$gap"}
    word=${COMP_WORDS[i]}
    ((i < COMP_CWORD)) || word=$rest
    rest=${rest#*"$word"}
    if [[ $i != 0 && -z $gap && ( $word == :* || $last == *: ) ]]; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
    last=$word
  done
  local -a COMP_WORDS=("${words[@]}")
  local COMP_CWORD=$((${#words[@]} - 1))
  _shtab_pktlb
  typed=${words[-1]}
  if [[ $COMP_WORDBREAKS == *:* && $typed == *:* ]]; then
    COMPREPLY=("${COMPREPLY[@]#"${typed%"${typed##*:}"}"}")
  fi
}

complete -o bashdefault -F _pktlb pktlb
"""
"""Bash ends words at colons, and addresses have them: the words are put together again, and of
what is offered, only what is behind the last colon replaces something."""


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
    parser.add_argument("shell", choices=SHELLS, help="the shell that completes")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> None:
    """Print the completions of all commands, whose parser `options` bring along."""
    print(complete(options.make_parser(), options.shell))


def complete(parser: Parser, shell: str) -> str:
    """The completions of a whole parser: what a word stands for is told by its name."""
    import shtab  # noqa: PLC0415 - other commands do not need it

    kinds = {"FILE": shtab.FILE, "PATH": shtab.FILE, "DIR": shtab.DIRECTORY} | _LIVE
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):
            for entry in action._get_subactions():  # one line, where a shell explains a command
                action.choices[entry.dest].description = entry.help
        named = [name for name in (action.metavar, action.dest.upper()) if name in kinds]
        if shell == "zsh" and isinstance(action.metavar, str):
            action.metavar = action.metavar.replace(":", r"\:")  # which shtab does not do
        if named and action.choices is None and action.nargs != 0:
            action.complete = kinds[str(named[0])]  # type: ignore[attr-defined]
        elif action.choices is None and (words := getattr(action, "words", ())):
            action.choices = words  # which the balancer checks, not argparse
    script = str(shtab.complete(parser, shell=shell))
    return script + _WHOLE_WORDS if shell == "bash" else script


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
