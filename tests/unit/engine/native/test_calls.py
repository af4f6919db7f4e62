"""Calls between the native engine's sources point one way, read from the C itself.

A part is a C file with the header of its name; functions in headers count as well. A part calls
another one where it names a function that the other one defines. Strings and comments do not count.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[4] / "pktlb" / "engine" / "native"
WAY = (
    "io", "batch", "decide", "indirect", "direct", "course", "ways", "plane", "flow", "pin",
    "schedule", "tables",
)  # fmt: skip
"The way of a packet: each part calls only parts behind it."
SILENT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"', re.S)
DEFINED = re.compile(r"^[A-Za-z_][\w *]*?\b(pk[a-z]*_\w+)\([^;{}]*\)\s*\{", re.M)
DECLARED = re.compile(r"^[^\s#{}][^{}]*?\);", re.M)
NAMED = re.compile(r"(?<!struct )\bpk[a-z]*_\w+\b")

Sources = Mapping[str, str]
"Text of each file, by its name."
Calls = dict[str, set[str]]
"What each part calls, by its name."


def native() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(NATIVE.glob("*.[ch]"))}


def calls(sources: Sources) -> Calls:
    code = {name: SILENT.sub(" ", text) for name, text in sources.items()}
    home = {
        function: Path(name).stem
        for name, text in code.items()
        for function in DEFINED.findall(text)
    }
    found: Calls = {Path(name).stem: set() for name in code}
    for name, text in code.items():
        used = NAMED.findall(DECLARED.sub("", text) if name.endswith(".h") else text)
        found[Path(name).stem] |= {home[each] for each in used if each in home}
    for part, called in found.items():
        called.discard(part)
    return found


def in_a_circle(found: Calls) -> set[str]:
    """Parts that are in a circle of calls, or call one that is."""
    left = {part: set(called) for part, called in found.items()}
    while done := {part for part, called in left.items() if not called & left.keys()}:
        left = {part: called for part, called in left.items() if part not in done}
    return set(left)


def against(way: tuple[str, ...], found: Calls) -> set[tuple[str, str]]:
    """Calls from a part of the way to one in front of it."""
    return {
        (part, called)
        for place, part in enumerate(way)
        for called in found[part] & set(way[:place])
    }


def test_calls_between_files_make_no_circle() -> None:
    assert in_a_circle(calls(native())) == set()


def test_files_call_along_the_way_of_a_packet() -> None:
    found = calls(native())
    assert against(WAY, found) == set()
    assert {"decide"} <= found["batch"]
    assert {"indirect", "direct"} <= found["decide"]
    assert {"direct", "ways"} <= found["indirect"]


@pytest.mark.parametrize("name", ["ways.c", "step.h"])
def test_a_planted_upward_call_is_a_circle(name: str) -> None:
    """Also where it hides in a header: ways.c calls functions of step.h."""
    planted = "\nstatic inline void planted(const struct pk_step *s)\n{\n\tpk_packet(s);\n}\n"
    sources = native()
    sources[name] += planted
    found = calls(sources)
    assert {"direct", "ways"} <= in_a_circle(found)
    assert (against(WAY, found) == {("ways", "direct")}) == (name == "ways.c")


def test_comments_and_declarations_are_no_calls() -> None:
    sources = native()
    sources["ways.c"] += '\n/* pk_packet(s) */\nstatic const char *text = "pk_packet(s)";\n'
    sources["ways.h"] = "enum pk_reason pk_packet(const struct pk_step *s);\n"
    assert calls(sources)["ways"] == calls(native())["ways"]
