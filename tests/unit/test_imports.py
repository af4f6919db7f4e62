"""What each module may import: one rule for each room of pktlb, and the tree keeps to them all.

model, errors < config, engine, host < plan, health, failover, cluster, l7, compat < control <
observe < daemon < cli: a room imports only rooms to its left, and rooms of one rank not each other.
The sources are read, not run: so a rule binds a new file at once, and late imports as well.
"""

import ast
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.support.imports import circles, imports, reach, read_graph, read_tree

ROOT: Final = Path(__file__).parents[2]
TREE: Final = read_tree(ROOT, "pktlb")
GRAPH: Final = read_graph(TREE)

PURE: Final = frozenset(
    {"abc", "array", "bisect", "collections", "contextlib", "copy", "dataclasses", "difflib"}
    | {"enum", "errno", "functools", "hashlib", "heapq", "ipaddress", "itertools", "json", "math"}
    | {"operator", "re", "shlex", "string", "struct", "tomllib", "types", "typing", "weakref"}
    | {"__future__", "os.strerror", "socket.AF_INET", "socket.AF_INET6", "socket.inet_ntop"}
    | {"socket.inet_pton"}
)
"What of the standard library touches nothing of the world: no sockets, clocks, files, chance."
WORLD: Final = frozenset({*sys.stdlib_module_names, "builtins"})


class Rule(NamedTuple):
    """What the modules of a room may import besides each other; names are below `pktlb`."""

    sentence: str
    knows: tuple[str, ...] = ()
    "Rooms and modules, with all that is in them."
    never: tuple[str, ...] = ()
    "Except these."
    outside: Collection[str] = ()
    "Besides `PURE`: of the standard library, or of what has to be installed."


LOW: Final = ("model", "errors", "config")
NATIVE: Final = ("engine.native",)
MIDDLE: Final = (*LOW, "engine", "host")
SEATS: Final = ("health", "failover", "cluster", "l7", "observe", "engine.fastpath")
"Rooms that are still empty: their rules are there before them."

ROOMS: Final = {
    "model": Rule("the model is values"),
    "errors": Rule("errors say whose fault it is"),
    "config": Rule("a configuration is understood without the machine", ("model", "errors")),
    "engine": Rule("an engine moves frames", ("model", "errors"), NATIVE, WORLD),
    "engine.datapath": Rule("the datapath is a pure function of frames and tables", ("model",)),
    "engine.packet": Rule("the packet is C, and needs no Python"),
    "engine.native": Rule(
        "the native engine knows the values of the datapath, and not how it decides",
        ("model", *(f"engine.datapath.{name}" for name in (
            "dump", "frame", "keys", "limits", "outcome", "tables", "tally", "tcp"))),
    ),
    "engine.wire": Rule(
        "the wire knows frames, and the numbers in the headers of packets",
        ("model", "errors", "engine.datapath.frame", "engine.datapath.packet"), outside=WORLD),
    "engine.fastpath": Rule(
        "the fast path mirrors flows that a plane has decided",
        ("errors", "engine.packet", "engine.plane", "engine.datapath.dump",
         "engine.datapath.tables"), outside=WORLD),
    "host": Rule("the host does things to the machine", ("model", "errors"), outside=WORLD),
    "plan": Rule(
        "a plan is a pure function of a configuration and of what is known of the machine",
        (*LOW, "host.machine", "host.guard", "host.neighbours", "engine.wire.filter",
         *(f"engine.datapath.{name}" for name in ("tables", "keys", "limits", "siphash")))),
    "health": Rule("a probe needs frames and routes",
                   ("model", "errors", "engine.wire", "host.machine"), outside=WORLD),
    "failover": Rule("a twin needs netlink and the records of flows",
                     ("model", "errors", "host", "engine.plane", "engine.datapath.dump"),
                     outside=WORLD),
    "cluster": Rule("what a cluster tells becomes objects", LOW, outside=WORLD),
    "l7": Rule("layer 7 is another program, made from the configuration", LOW, outside=WORLD),
    "compat": Rule(
        "other balancers' words become a configuration, or requests to the API that they are given",
        LOW, outside=("glob", "os", "socket", "time", "builtins.open")),
    "control": Rule(
        "the control socket knows what it controls by a protocol, and changes as values",
        (*LOW, "plan.change"), outside=WORLD),
    "observe": Rule("an observer looks, and changes nothing",
                    ("model", "errors", "engine", "control.operator"), NATIVE, WORLD),
    "daemon": Rule(
        "the daemon puts all together", (*MIDDLE, "plan", *SEATS, "compat", "control"), NATIVE,
        WORLD),
    "cli": Rule("commands may know everything",
                (*MIDDLE, "plan", *SEATS, "compat", "control", "daemon"), NATIVE, WORLD),
    "__main__": Rule("the program begins the command line", ("cli",), outside=WORLD),
}  # fmt: skip
"By the folder or module; a folder inside a room is of that room, unless it has a rule of its own."


def like(room: str, sentence: str, outside: Collection[str] = (), *knows: str) -> Rule:
    """The rule of one module of a room: that of the room, and more."""
    rule = ROOMS[room]
    never = tuple(place for place in rule.never if place not in knows)
    return Rule(sentence, (*rule.knows, room, *knows), never, {*rule.outside, *outside})


MODULES: Final = {
    "config.bounds": Rule("each command needs a bound, so bounds are numbers alone"),
    "config.file": like("config", "a file is read", WORLD),
    "config.collector": like("config", "Python's collector is told to rest", ("gc",)),
    "config.keys": like(
        "config", "pydantic checks tables", ("annotated_types", "pydantic", "pydantic_core")),
    "config.validation": like("config", "pydantic names mistakes", ("pydantic", "pydantic_core")),
    "engine.choose": like("engine", "the engine is chosen by name", (), *NATIVE),
    "engine.workers": like("engine", "threads run the native engine", (), *NATIVE),
    "engine.shared": like("engine", "threads share the native engine's memory", (), *NATIVE),
    "engine.wire.filter": Rule("a filter is numbers", ("model", "engine.datapath.packet")),
    "host.machine": Rule("what the kernel has told is values"),
    "host.neighbours": Rule("what is known of neighbours follows from it", ("host.machine",)),
    "host.guard": Rule("the guard is text", ("model",)),
    "host.netlink": like("host", "one module speaks netlink", ("pyroute2",)),
    "control.place": Rule(
        "each command asks where the socket is", ("errors", "config.bounds"),
        outside=("os",)),
    "control.client": Rule(
        "a command that asks loads no server", ("errors",),
        outside=("grp", "http.client", "os", "socket", "stat", "urllib")),
    "control.refusal": Rule("a refusal is an error with HTTP's number", ("errors",)),
    "control.edits": Rule("an edit is a pure function", (*LOW, "control.refusal")),
    "control.views": Rule("JSON is made of values", (*LOW, "control.operator", "plan.change")),
    "control.selection": Rule(
        "a selection is a test of a flow", (*LOW, "control.operator", "control.refusal"),
        outside=("netaddr",)),
    "control.request": like("control", "a request is read by aiohttp", ("aiohttp",)),
    "control.routes": like("control", "a route answers by aiohttp", ("aiohttp",)),
    "control.server": like("control", "the server is aiohttp's", ("aiohttp",)),
    "cli.completion": like("cli", "shtab writes completions", ("shtab",)),
}  # fmt: skip
"Single modules (and control.routes) whose rule is wider or narrower than that of their room."

RULES: Final = {**ROOMS, **MODULES}

RANKS: Final = (
    ("model", "errors"), ("config", "engine", "host"),
    ("plan", "health", "failover", "cluster", "l7", "compat"),
    ("control",), ("observe",), ("daemon",), ("cli",), ("__main__",),
)  # fmt: skip


def within(name: str, places: Collection[str]) -> bool:
    """Whether a dotted name is one of `places`, or inside one."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in places for count in range(1, len(parts) + 1))


def room_of(module: str, rules: Collection[str] = tuple(RULES)) -> str | None:
    """The longest of the places that a module (below `pktlb`) is in: its rule binds it."""
    return max((place for place in rules if within(module, (place,))), key=len, default=None)


def breaches(module: str, imported: Collection[str]) -> set[str]:
    """Those imports of a module that its rule forbids; all, where it is in no room. Names inside
    pktlb are without that word."""
    module = module.removeprefix("pktlb").removeprefix(".")
    place = room_of(module)
    rule = RULES[place] if place else Rule("")
    known = {*rule.knows, place or ""}
    return {
        name.removeprefix("pktlb.")
        for name in imported
        if name != "pktlb"
        if not (
            within(name[6:], known) and not within(name[6:], set(rule.never) - {place})
            if within(name, ("pktlb",))
            else within(name, PURE) or within(name, rule.outside)
        )
    }


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_its_rule_allows(room: str) -> None:
    wrong = {
        (module.removeprefix("pktlb."), name)
        for module, imported in GRAPH.items()
        if room_of(module.removeprefix("pktlb."), ROOMS) == room
        for name in breaches(module, imported)
    }
    assert wrong == set(), ROOMS[room].sentence


def test_each_module_is_in_a_room_and_each_rule_has_modules() -> None:
    found = {module: room_of(module.removeprefix("pktlb.")) for module in TREE}
    assert [module for module, room in found.items() if not room] == ["pktlb"]
    assert not GRAPH["pktlb"]
    assert set(RULES) - set(SEATS) == set(found.values()) - {None}


def test_a_room_knows_only_rooms_to_its_left() -> None:
    rank = {room: number for number, rooms in enumerate(RANKS) for room in rooms}
    for place, rule in RULES.items():
        own, *_ = place.split(".")
        for known in rule.knows:
            other, *_ = known.split(".")
            assert other == own or rank[other] < rank[own], f"{place} knows {known}"


@pytest.mark.parametrize("place", ["plan", "engine.datapath", "control.edits"])
def test_what_a_pure_room_imports_is_pure_to_the_end(place: str) -> None:
    """A module that is imported by way of others touches nothing of the world either."""
    for module in TREE:
        if room_of(module[6:]) == place:
            reached = {room_of(name[6:]) for name in reach(GRAPH, module) if name != "pktlb"}
            assert not [room for room in reached if room and RULES[room].outside], module


def test_a_command_that_asks_loads_neither_the_configuration_nor_a_server() -> None:
    for module in ("pktlb.control.client", "pktlb.control.place"):
        assert reach(GRAPH, module) <= {"pktlb.errors", "pktlb.config.bounds"}


@pytest.mark.parametrize("package", ["pktlb", "netns"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    assert not circles(read_graph(read_tree(ROOT, package)))


def test_each_folder_says_what_it_is() -> None:
    folders = {path.parent for path in TREE.values()}
    assert {path.parent for path in (ROOT / "pktlb").rglob("*.[ch]")} <= folders
    for folder in folders:
        tree = ast.parse((folder / "__init__.py").read_text())
        text = ast.get_docstring(tree)
        rest = tree.body[1:]
        assert not rest or folder == ROOT / "pktlb", f"{folder}: code stands in a module of its own"
        assert text, folder
        assert text.endswith("."), folder
        assert ". " not in " ".join(text.splitlines()), f"{folder}: more than one sentence"
        assert len(text.splitlines()) <= 3, folder


PLANTED = [
    ("engine.datapath.flow", "import pktlb.control.edits", "control.edits"),
    ("engine.datapath.flow", "from pktlb.plan import slots", "plan.slots"),
    ("engine.datapath.flow", "from pktlb.errors import KernelError", "errors"),
    ("engine.datapath.flow", "from ..wire.port import Port", "engine.wire.port"),
    ("engine.datapath.flow", "from .. import choose", "engine.choose"),
    ("engine.datapath.flow", "from ...host import netlink as n", "host.netlink"),
    ("engine.datapath.flow", "def f():\n    import time", "time"),
    ("engine.datapath.flow", "import os.path", "os.path"),
    ("engine.datapath.flow", "import os\nos.strerror(1)\nos.getpid()", "os.getpid"),
    ("engine.datapath.flow", "from socket import socket", "socket.socket"),
    ("engine.datapath.flow", "import socket as s\ns.socket()", "socket.socket"),
    ("engine.datapath.flow", "import socket\nfor each in dir(socket): pass", "socket"),
    ("engine.datapath.flow", "import numpy", "numpy"),
    ("engine.datapath.flow", "open('/etc/hosts')", "builtins.open"),
    ("engine.datapath.flow", "read = open\nread('/etc/hosts')", "builtins.open"),
    ("engine.wire.port", "if True:\n    from pktlb.daemon.run import run", "daemon.run"),
    ("engine.wire.port", "from ..datapath.pipeline import Dataplane", "engine.datapath.pipeline"),
    ("engine.native.tables", "from pktlb.engine.datapath import flow", "engine.datapath.flow"),
    ("engine.engine", "from .native import dataplane", "engine.native.dataplane"),
    ("engine.engine", "import pktlb.engine.native._core", "engine.native._core"),
    ("daemon.run", "import pktlb\npktlb.engine.native", "engine.native"),
    ("daemon.run", "from pktlb import engine as e\ne.native.dataplane", "engine.native.dataplane"),
    ("model", "import pktlb.errors", "errors"),
    ("errors", "from pktlb import model", "model"),
    ("config.document", "from pydantic import BaseModel", "pydantic.BaseModel"),
    ("config.document", "from pktlb.host import machine", "host.machine"),
    ("config.document", "try:\n    import asyncio\nexcept ImportError:\n    pass", "asyncio"),
    ("host.guard", "from pktlb.host.nft import apply", "host.nft"),
    ("host.guard", "from . import nft", "host.nft"),
    ("host.signals", "from pyroute2 import IPRoute", "pyroute2.IPRoute"),
    ("host.signals", "from pktlb.plan.leaving import Leaver", "plan.leaving"),
    ("plan.slots", "from random import randrange", "random.randrange"),
    ("plan.layout", "import logging", "logging"),
    ("plan.layout", "from pktlb.host import netlink", "host.netlink"),
    ("plan.layout", "from pktlb.engine.datapath import pipeline", "engine.datapath.pipeline"),
    ("plan.layout", "from importlib import import_module", "importlib.import_module"),
    ("compat.importer.saved", "LATE = 'pktlb.plan.change'", "plan.change"),
    ("compat.ipvsadm.api", "if TYPE_CHECKING:\n    from pktlb.control.client import Client",
     "control.client"),
    ("control.views", "from pktlb.daemon.operation import Operation", "daemon.operation"),
    ("control.server", "_SLOW = 'pktlb.plan.layout'", "plan.layout"),
    ("control.server", "import importlib\nimportlib.import_module('pktlb.host.guard')",
     "host.guard"),
    ("control.server", "from importlib import import_module as load\nload('pydantic')", "pydantic"),
    ("control.server", "import_module('..daemon.run', 'pktlb.control')", "daemon.run"),
    ("control.server", "import_module('..daemon.run', __package__)", "daemon.run"),
    ("control.server", "__import__('pktlb.engine.choose')", "engine.choose"),
    ("control.server", "find('pktlb.host.guard.render')", "host.guard"),
    ("control.server", "import_module(f'pktlb.daemon.{name}')", "daemon.run"),
    ("control.client", "async def f():\n    import asyncio", "asyncio"),
    ("control.routes.flows", "from ...plan.placement import place", "plan.placement"),
    ("control.server", "import_module(f'pktlb.{name}')", "cli"),
    ("control.server", "import_module('pktlb.daemon.%s' % name)", "daemon.run"),
    ("control.server", "import_module('pktlb.daemon.{}'.format(name))", "daemon.run"),
    ("control.server", "find('pktlb.host:guard')", "host"),
    ("daemon.run", "from pktlb.cli.main import main", "cli.main"),
    ("daemon.run", "import scapy.all as s", "scapy.all"),
    ("cli.status", "def f():\n    from aiohttp import web", "aiohttp.web"),
    ("cli.main", "import shtab", "shtab"),
    ("cli.completion", "from pktlb.engine.native import tables", "engine.native.tables"),
    ("cli.run", "from netns import lab", "netns.lab"),
    ("cli.run", "from tests.support.packets import *", "tests.support.packets.*"),
    ("health.probes", "from pktlb.failover import vrrp", "failover"),
    ("l7.haproxy", "from pktlb.daemon import run", "daemon.run"),
    ("surplus", "from pktlb.model import Mode", "model"),
    ("stuff.thing", "import asyncio", "asyncio"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "source", "found"), PLANTED)
def test_a_planted_breach_is_found(module: str, source: str, found: str) -> None:
    assert found in breaches(module, imports(source, f"pktlb.{module}", TREE))


PERMITTED = [
    ("engine.datapath.flow", "from pktlb.engine.datapath import checksum\nfrom . import tcp"),
    ("engine.datapath.flow", "from pktlb.model import Mode\nfrom collections import OrderedDict"),
    ("engine.datapath.flow", '"""Not pktlb.control.server."""\nX = 1\n"see pktlb.host.nft"'),
    ("engine.choose", "from pktlb.engine.native.dataplane import NativeDataplane"),
    ("engine.wire.port", "import socket\nfrom pktlb.engine.datapath.frame import Frame"),
    ("model", "import socket\nsocket.inet_ntop(socket.AF_INET, b'')"),
    ("config.keys", "from pydantic import BaseModel\nfrom pktlb.config import text"),
    ("config.file", "X = ['pktlb.toml', 'pktlb.service', 'a pktlb.host.nft']"),
    ("host.netlink", "from pyroute2 import IPRoute"),
    ("plan.layout", "from pktlb.host.machine import Machine\nfrom .ramp import Ramps"),
    ("control.server", "_SLOW = 'pktlb.config.document'"),
    ("daemon.run", "from pktlb import __version__\nfrom ..engine import choose"),
    ("cli.main", "import_module(f'pktlb.cli.{name}')\nprint(open('x'))"),
    ("__main__", "from pktlb.cli.main import main"),
    ("health.probes", "from pktlb.engine.wire.raw import RawSocket\nimport asyncio"),
]


@pytest.mark.parametrize(("module", "source"), PERMITTED)
def test_a_permitted_import_is_no_breach(module: str, source: str) -> None:
    assert not breaches(module, imports(source, f"pktlb.{module}", TREE))


def test_a_rule_binds_a_new_file_at_once(tmp_path: Path) -> None:
    for name, source in (
        ("__init__", ""), ("host/__init__", ""), ("host/new", "from ..daemon import run"),
        ("daemon/run", ""), ("spare", ""),
    ):  # fmt: skip
        file = tmp_path / "pktlb" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    (tmp_path / "pktlb/host/new.pyi").touch()  # a stub hides nothing
    graph = read_graph(read_tree(tmp_path, "pktlb"))
    assert breaches("pktlb.host.new", graph["pktlb.host.new"]) == {"daemon.run"}
    assert room_of("spare") is None


CIRCLES: list[tuple[Mapping[str, set[str]], list[tuple[str, ...]]]] = [
    ({"a": {"b", "os"}, "b": {"c"}, "c": set()}, []),
    ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [("a", "b")]),
    ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"d"}}, [("a", "b", "c"), ("d",)]),
]


@pytest.mark.parametrize(("graph", "expected"), CIRCLES)
def test_a_planted_circle_is_found(
    graph: Mapping[str, set[str]], expected: list[tuple[str, ...]]
) -> None:
    assert circles(graph) == expected
