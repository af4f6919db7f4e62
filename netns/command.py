"""The verbs that every topology has: up, down, exec, demo, walk."""

import argparse
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from netns import janitor, namespace
from netns.demo import Demo, demonstrate
from netns.errors import LabError, UsageError
from netns.host import pktlb_command
from netns.lab import KEPT, Lab, require_root
from netns.process import ROOT
from netns.stage import Stage
from netns.table import command as shown
from netns.topology import Program, Topology
from netns.walk import walk


def main(topology: Topology, argv: Sequence[str] | None = None, demo: type[Stage] = Demo) -> int:
    """Do what the command line says; return the exit status."""
    arguments = parser(topology).parse_args(argv)
    try:
        match arguments.verb:
            case "up":
                up(topology, arguments.name, arguments.print)
            case "down":
                down(topology, arguments.name)
            case "exec":
                execute(topology, arguments.name, arguments.host, arguments.command)
            case "demo":
                return demonstrate(topology, demo)
            case "walk":
                walk(topology)
    except LabError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # as a shell reports it
    return 0


def parser(topology: Topology) -> argparse.ArgumentParser:
    """The command line, described."""
    kind = topology.kind
    top = argparse.ArgumentParser(
        description=topology.drawing, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")

    def verb(name: str, what: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")

    starting = verb("up", "build the network, start the servers, and leave it all running")
    starting.add_argument(
        "--print", action="store_true", help="do nothing; print the commands that would do it"
    )
    starting.add_argument("--name", default="", help=f"call it {kind}-NAME (default: random)")
    ending = verb("down", "take down what `up` has left running")
    running = verb("exec", "run a command in one of the hosts")
    for one in (ending, running):
        one.add_argument("--name", default="", help=f"which one: {kind}-NAME (default: the newest)")
    running.add_argument("host", metavar="HOST", help="client, or another name in the drawing")
    running.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER)
    verb("demo", "balance real HTTP requests with each scheduler and check which servers answer")
    verb("walk", "follow one connection and show what each hop does to its packets")
    return top


def up(topology: Topology, tag: str, only_print: bool) -> None:
    """Build the network and start the programs of the backends, or only print the commands."""
    programs = topology.decapsulators() + topology.servers()
    with topology.laboratory(tag, rehearse=only_print) as lab:
        topology.build(lab)
        if only_print:
            print(script(lab, programs))
            return
        for program in programs:
            lab.hosts[program.host].start(*program.argv, ready=program.ready)
        lab.keep()
    print(welcome(topology, lab))


def script(lab: Lab, programs: list[Program]) -> str:
    """The whole laboratory as a shell script."""
    run = [f"ip netns exec {lab.name}-{it.host} {shlex.join(it.argv)} &" for it in programs]
    head = [f"cd {shlex.quote(str(ROOT))}", "set -e", "", "# the network"]
    return "\n".join([*head, lab.script(), "", "# what runs on the backends", *run])


def welcome(topology: Topology, lab: Lab) -> str:
    """A text that says what to type next."""
    me = [sys.executable, sys.argv[0]]
    tag = ["--name", lab.name.removeprefix(f"{lab.kind}-")]
    start = [
        [*me, "exec", *tag, host, *installed_pktlb(arguments)]
        for host, arguments in topology.runs().items()
    ]
    ask = [[*me, "exec", *tag, "client", "curl", url] for url in topology.urls]
    balancer = "balancer; it stays" if len(start) == 1 else "balancers; each stays"
    return f"""{lab.name} is up.

{topology.drawing.strip()}

Start the {balancer} in the foreground until Ctrl-C:

{lines(start)}

Then, in another terminal, be the client:

{lines(ask)}

Take it all down:

{shown([*me, "down", *tag], indent=4)}"""


def installed_pktlb(arguments: list[str]) -> list[str]:
    """The command line of pktlb as a person would type it."""
    return ["pktlb", *arguments] if shutil.which("pktlb") else pktlb_command(*arguments)


def lines(commands: list[list[str]]) -> str:
    """The lines of commands, to be pasted."""
    return "\n".join(shown(argv, indent=4) for argv in commands)


def down(topology: Topology, tag: str) -> None:
    """Remove a laboratory with all that runs in it."""
    require_root()
    name = find(topology, tag)
    janitor.sweep(name)
    print(f"{name} is gone.")


def execute(topology: Topology, tag: str, host: str, command: list[str]) -> None:
    """Run a command in a host, in the place of this process; it can import pktlb."""
    require_root()
    name = find(topology, tag)
    if f"{name}-{host}" not in namespace.names(name):
        hosts = ", ".join(one.removeprefix(f"{name}-") for one in namespace.names(name))
        raise UsageError(f"{name} has no host {host!r}; it has {hosts}")
    if not command:
        raise UsageError("exec needs a command to run")
    os.environ["PYTHONPATH"] = str(ROOT)
    os.execvp("ip", ["ip", "netns", "exec", f"{name}-{host}", *command])


def find(topology: Topology, tag: str) -> str:
    """The name of the laboratory with this tag; without a tag, of the newest that was left up.
    Raises `UsageError`."""
    if tag:
        name = f"{topology.kind}-{tag.removeprefix(f'{topology.kind}-')}"
        if not namespace.names(name):
            raise UsageError(f"there is no laboratory {name}")
        return name
    kept = janitor.LABS.glob(f"{topology.kind}-*/{KEPT}")
    newest = max(kept, key=lambda mark: mark.stat().st_mtime_ns, default=None)
    if newest is None:
        raise UsageError(f"no {topology.kind} laboratory is up; `up` builds one")
    return newest.parent.name
