"""Frames for a parser: all that other tests have, and what the differential traffic makes."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator

from scapy.layers.l2 import Ether

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.pipeline import Dataplane
from tests.differential.recording import DATA, Recording
from tests.differential.step import Arrival
from tests.differential.traffic import Traffic
from tests.differential.twins import act
from tests.fuzz.build import inputs
from tests.support.cases import Case
from tests.unit.engine import datapath

Given = Callable[[], Iterator[bytes]]


def of_value(value: object) -> Iterator[bytes]:
    """The frames in a parameter of a test, however deep, and those of a case."""
    match value:
        case bytes():
            yield value
        case Frame():
            yield bytes(value.data)
        case Ether():
            yield bytes(value)
        case tuple() | list():
            for each in value:
                yield from of_value(each)
        case Case():
            for each in (*value.before, value.given, *value.expect):
                yield from of_value(each)


def of_cases() -> Iterator[bytes]:
    """What the tables of cases of the datapath give their tests, and expect of them."""
    for module in pkgutil.iter_modules(datapath.__path__, f"{datapath.__name__}."):
        for test in vars(importlib.import_module(module.name)).values():
            for mark in getattr(test, "pytestmark", ()):
                if mark.name == "parametrize":
                    yield from of_value(mark.args[1])


def of_the_fuzzer() -> Iterator[bytes]:
    """Inputs of the fuzz target of the parser."""
    for path in inputs("parse"):
        yield path.read_bytes()


def of_recordings() -> Iterator[bytes]:
    """Real traffic of each mode."""
    for path in sorted(DATA.glob("*.json")):
        for arrival in Recording.read(path.stem).arrivals():
            yield arrival.data


def of_traffic(seed: int, steps: int) -> Iterator[bytes]:
    """Random traffic at the reference, strange and broken frames in it, and what the reference
    sends."""
    traffic = Traffic(seed)
    plane = Dataplane(traffic.scene.tables(), traffic.scene.limits)
    for _ in range(steps):
        step = traffic.next(plane.flows)
        if not isinstance(step, Arrival):
            act(plane, step)
            continue
        yield step.data
        outcome = plane.handle(step.frame(), step.now)
        traffic.learn(step, outcome)
        yield from (bytes(sent.data) for sent in outcome.frames)
