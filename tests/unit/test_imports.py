"""The arrows of the design point one way: who may import what, read from the sources.

A rule names the modules it binds and the imports it forbids them. Modules are read with `ast`, not
imported, so what is forbidden is found wherever it stands, in a function or behind a condition.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
STDLIB = frozenset(sys.stdlib_module_names)
IMPURE = frozenset(
    {"asyncio", "fcntl", "io", "multiprocessing", "os", "pathlib", "random", "secrets", "select"}
    | {"selectors", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time"}
)
"What touches the world: sockets, clocks, files, other processes, chance."


class Rule(NamedTuple):
    """Modules under `binds` (but for `spares`) import nothing under `forbids` but `allows`."""

    sentence: str
    binds: str
    forbids: frozenset[str]
    allows: frozenset[str] = frozenset()
    spares: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.sentence


def under(module: str, parents: frozenset[str]) -> bool:
    """Whether a module is one of `parents` or inside one."""
    return any(module == parent or module.startswith(f"{parent}.") for parent in parents)


CONTROL = frozenset(
    {
        "pktlb.cli",
        "pktlb.config.config",
        "pktlb.control",
        "pktlb.daemon.run",
        "pktlb.daemon.decap",
        "pktlb.engine.engine",
    }
    | {
        "pktlb.config.conflicts",
        "pktlb.config.document",
        "pktlb.engine.choose",
        "pktlb.failover",
        "pktlb.config.file",
        "pktlb.health",
        "pktlb.host",
        "pktlb.l7",
        "pktlb.config.objects",
        "pktlb.plan.placement",
        "pktlb.service",
        "pktlb.plan.slots",
        "pktlb.config.keys",
        "pktlb.config.validation",
    }
)
DATAPATH = frozenset({"pktlb.engine.datapath"})
MODEL = frozenset({"pktlb.model"})
PKTLB = frozenset({"pktlb"})

RUNNING = frozenset(
    {
        "pktlb.control",
        "pktlb.daemon.run",
        "pktlb.engine.datapath",
        "pktlb.engine.engine",
        "pktlb.engine.choose",
    }
    | {"pktlb.host", "pktlb.engine.native", "pktlb.plan.placement", "pktlb.engine.wire"}
)
"What moves packets, and what is in the process that does."

RULES = [
    Rule("the datapath knows only itself and the model", "pktlb.engine.datapath", PKTLB,
         DATAPATH | MODEL),
    Rule("the datapath touches nothing of the world", "pktlb.engine.datapath", IMPURE),
    Rule("the model knows nobody", "pktlb.model", PKTLB),
    Rule("errors know nobody", "pktlb.errors", PKTLB),
    Rule("the native datapath knows the reference and nothing of control",
         "pktlb.engine.native", CONTROL,
         spares=frozenset({"pktlb.engine.workers"})),
    Rule("only what chooses the engine knows the native one", "pktlb",
         frozenset({"pktlb.engine.native"}),
         spares=frozenset({"pktlb.engine.native", "pktlb.engine.choose", "pktlb.engine.workers",
                           "pktlb.engine.shared"})),
    Rule("policy is pure", "pktlb.plan.slots", IMPURE),
    Rule("the wire knows nothing of control", "pktlb.engine.wire", CONTROL),
    Rule("only one module speaks netlink", "pktlb", frozenset({"pyroute2"}),
         spares=frozenset({"pktlb.host.netlink"})),
    Rule("only the tables of a file and who looks after them know pydantic", "pktlb",
         frozenset({"pydantic", "pydantic_core"}),
         spares=frozenset({"pktlb.config.keys", "pktlb.config.validation"})),
    Rule("what a file says is understood without the machine", "pktlb.config.document",
         IMPURE | frozenset({"pktlb.host", "pktlb.daemon.run"})),
    Rule("only completions know shtab", "pktlb", frozenset({"shtab"}),
         spares=frozenset({"pktlb.cli.completion"})),
    Rule("scapy stays out of the product", "pktlb", frozenset({"scapy"})),
    Rule("the host knows neither the daemon nor the commands", "pktlb.host",
         frozenset({"pktlb.cli", "pktlb.daemon.run"})),
    Rule("the control socket knows nothing of what it controls", "pktlb.control", frozenset(
         {"pktlb.daemon.balancer", "pktlb.cli", "pktlb.daemon.run", "pktlb.engine.datapath",
         "pktlb.engine.engine"}
         | {"pktlb.engine.choose", "pktlb.host", "pktlb.engine.native",
         "pktlb.daemon.operation", "pktlb.engine.wire"})),
    Rule("only the server of the control socket knows aiohttp", "pktlb", frozenset({"aiohttp"}),
         spares=frozenset(f"pktlb.control.{name}" for name in ("request", "routes", "server"))),
    Rule("commands that ask load no server", "pktlb.control.client", frozenset(
         {"aiohttp", "asyncio", "pktlb.config.config", "pktlb.model", "pktlb.config.file",
         "pydantic"})),
    Rule("nobody knows the commands", "pktlb", frozenset({"pktlb.cli"}),
         spares=frozenset({"pktlb.cli", "pktlb.__main__"})),
    Rule("ipvsadm's commands know the balancer by its API alone", "pktlb.compat.ipvsadm", RUNNING),
    Rule("an import looks at nothing that runs", "pktlb.compat.importer", RUNNING),
    Rule("the product knows neither labs nor tests", "pktlb", frozenset({"netns", "tests"})),
]  # fmt: skip

OUTSIDERS = frozenset({"pktlb"}) | STDLIB
"All that the datapath may import; what of it is told by the rules."


def imports(source: str, module: str, is_package: bool) -> Iterator[str]:
    """Every module that a source imports; of `from a import b` both a and a.b, for b may be one."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            name = ".".join(filter(None, [above, node.module]))
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def violations(rule: Rule, module: str, imported: set[str]) -> set[str]:
    """Those imports of a module that a rule forbids it."""
    if not under(module, frozenset({rule.binds})) or under(module, rule.spares):
        return set()
    return {
        name
        for name in imported
        if under(name, rule.forbids)
        and not under(name, rule.allows)
        and not is_parent(name, rule.allows)
    }


def is_parent(name: str, allowed: frozenset[str]) -> bool:
    """`from pktlb import datapath` names `pktlb` too, which is no more than the way there."""
    return any(each.startswith(f"{name}.") for each in allowed)


def modules() -> dict[str, set[str]]:
    """Every module of the product and what it imports."""
    found = {}
    for path in sorted((ROOT / "pktlb").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        source = path.read_text(encoding="utf-8")
        found[name] = set(imports(source, name, path.name == "__init__.py"))
    return found


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_arrows_point_one_way(rule: Rule) -> None:
    broken = {
        module: wrong
        for module, imported in modules().items()
        if (wrong := violations(rule, module, imported))
    }
    assert not broken


def test_the_datapath_imports_nothing_that_has_to_be_installed() -> None:
    foreign = {
        (module, name)
        for module, imported in modules().items()
        if under(module, DATAPATH)
        for name in imported
        if not under(name, OUTSIDERS)
    }
    assert not foreign


def test_there_is_something_to_read() -> None:
    assert {
        "pktlb.engine.datapath.pipeline",
        "pktlb.model",
        "pktlb.engine.datapath",
    } <= modules().keys()
    assert "pktlb.engine.datapath.icmp" in modules()["pktlb.engine.datapath.direct"]


BREACHES = [
    ("pktlb.engine.datapath.flow", "from pktlb.control import plan"),
    ("pktlb.engine.datapath.flow", "from pktlb import policy"),
    ("pktlb.engine.datapath.flow", "from .. import policy"),
    ("pktlb.engine.datapath.flow", "from ..wire.port import Port"),
    ("pktlb.engine.datapath.flow", "def f():\n    import time"),
    ("pktlb.engine.datapath.flow", "from socket import inet_aton"),
    ("pktlb.engine.datapath.flow", "import os.path"),
    ("pktlb.model", "import pktlb.errors"),
    ("pktlb.plan.slots", "import random"),
    ("pktlb.engine.native.tables", "from pktlb import plan"),
    ("pktlb.daemon.run", "from pktlb.engine.workers import NativeEngine"),
    ("pktlb.engine.wire.port", "if True:\n    from pktlb.daemon.run import run"),
    ("pktlb.engine.wire.port", "import pktlb.host.netlink"),
    ("pktlb.host.guard", "from pyroute2 import IPRoute"),
    ("pktlb.host.guard", "from pktlb import daemon"),
    ("pktlb.config.document", "import pydantic"),
    ("pktlb.control.server", "from pydantic import BaseModel"),
    ("pktlb.config.document", "from pktlb.host import machine"),
    ("pktlb.cli.main", "import shtab"),
    ("pktlb.daemon.run", "import scapy.all as s"),
    ("pktlb.daemon.run", "from pktlb.cli.main import main"),
    ("pktlb.compat.ipvsadm.table", "from pktlb.control.operator import Counts"),
    ("pktlb.compat.importer.output", "from pktlb import plan"),
    ("pktlb.cli.walk", "from netns import lab"),
    ("pktlb.control.views", "from pktlb.daemon.operation import Operation"),
    ("pktlb.control.client", "import asyncio"),
    ("pktlb.cli.status", "def f():\n    from aiohttp import web"),
]


@pytest.mark.parametrize(("module", "source"), BREACHES)
def test_a_breach_would_be_found(module: str, source: str) -> None:
    imported = set(imports(source, module, is_package=False))
    assert any(violations(rule, module, imported) for rule in RULES)


PERMITTED = [
    ("pktlb.engine.datapath.flow", "from pktlb.engine.datapath import checksum"),
    ("pktlb.engine.datapath.flow", "from pktlb.model import Mode"),
    ("pktlb.engine.datapath.flow", "from . import checksum"),
    ("pktlb.engine.datapath.flow", "from collections import OrderedDict\nimport struct"),
    ("pktlb.model", "import socket"),
    ("pktlb.config.keys", "from pydantic import BaseModel"),
    ("pktlb.host.netlink", "from pyroute2 import IPRoute"),
    ("pktlb.cli.run", "from pktlb import daemon\nfrom pktlb.cli import flags"),
    ("pktlb.__main__", "from pktlb.cli.main import main"),
    ("pktlb.engine.wire.port", "import socket\nfrom pktlb.engine.datapath.frame import Frame"),
]


@pytest.mark.parametrize(("module", "source"), PERMITTED)
def test_what_is_permitted_is_no_breach(module: str, source: str) -> None:
    imported = set(imports(source, module, is_package=False))
    assert not any(violations(rule, module, imported) for rule in RULES)
