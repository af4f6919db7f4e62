"""The headers that parse packets, compiled for the kernel: its verifier takes them, and they say of
every frame what the reference says.

`parse.bpf.c` is an XDP program that parses and forwards nothing. It returns the Reason, and leaves
the view in a map.
"""

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from pktlb.engine.datapath.keys import FlowKey
from pktlb.engine.datapath.packet import Fragment, Quote, View, parse
from pktlb.model import OF_DECAP, Proto, Reason
from tests.unit.engine.packet import frames
from tests.unit.engine.packet.kernel import (
    LONGEST,
    SHORTEST,
    Program,
    RefusedError,
    compile_for_kernel,
    loaded,
)

HERE: Final = Path(__file__).parent
REASONS: Final = [each for each in Reason if each not in OF_DECAP]
"In the order of enum pk_reason."
KEY: Final = struct.Struct("16s16s2s2sBBH")
REST: Final = struct.Struct("=IHHHBBBBxx")
FRAGMENT: Final = struct.Struct("=IIIB")
QUOTE: Final = struct.Struct("=16s16sIHHB")
VIEW: Final = KEY.size + REST.size + 48
"Bytes of struct pk_view."
WHOLE, FIRST, LATER, ERROR = range(4)
"enum pk_kind."

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and os.environ.get("PKTLB_NEED_NET") != "1",
    reason="loading a program into the kernel needs root",
)


def view_of(raw: bytes) -> View:
    """A struct pk_view as the reference has it."""
    source, destination, sport, dport, proto, family, _ = KEY.unpack_from(raw)
    end, transport, payload, check, ttl, flags, df, kind = REST.unpack_from(raw, KEY.size)
    size = 4 if family == 4 else 16
    ends = source[:size] + destination[:size]
    key = FlowKey(ends + sport + dport + bytes([proto]))
    fragment = quote = None
    union = raw[KEY.size + REST.size :]
    if kind in (FIRST, LATER):
        ident, start, stop, more = FRAGMENT.unpack_from(union)
        name = ident.to_bytes(2, "big") + bytes([proto]) if size == 4 else ident.to_bytes(4, "big")
        fragment = Fragment(ends + name, start, stop, bool(more))
    elif kind == ERROR:
        quote, proto = quote_of(union, family)
    return View(
        key, transport, payload, end, proto, ttl, flags, check, bool(df), fragment, quote
    )  # fmt: skip


def quote_of(raw: bytes, family: int) -> tuple[Quote, int]:
    """A struct pk_quote as the reference has it, and the protocol of the error; `family` is that of
    the quoted packet."""
    source, destination, end, ip, transport, outer = QUOTE.unpack_from(raw)
    proto = Proto.ICMP if (outer or family) == 4 else Proto.ICMPV6
    if not outer:
        return Quote(ip, transport, end), proto
    size = 4 if outer == 4 else 16
    inside = Proto.IPIP if family == 4 else Proto.IPV6
    around = FlowKey(destination[:size] + source[:size] + bytes(4) + bytes([inside]))
    return Quote(ip, transport, end, around), proto


@pytest.fixture(scope="module")
def in_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    made = compile_for_kernel(HERE / "parse.bpf.c", tmp_path_factory.mktemp("kernel"))
    with loaded(made) as program:
        yield program


@pytest.fixture
def program(in_kernel: Program, record_property: Callable[[str, object], None]) -> Program:
    """The parser in the kernel. Every test shows what the verifier counted."""
    record_property("shown", f"parse.bpf.c: {in_kernel.counted}")
    return in_kernel


def parsed(program: Program, data: bytes) -> View | Reason:
    """What the kernel makes of a frame."""
    reason = REASONS[program.run(data)]
    return view_of(program.read(VIEW)) if reason is Reason.FORWARDED else reason


def compare(program: Program, given: Iterable[bytes]) -> list[View | Reason]:
    """What the kernel and the reference both make of each frame."""
    made = []
    for data in given:
        if SHORTEST <= len(data) <= LONGEST:
            expected = parse(bytearray(data))
            assert parsed(program, data) == expected, data.hex()
            made.append(expected)
    return made


def test_the_verifier_takes_the_parser(program: Program) -> None:
    """It refuses what it cannot follow in a million instructions."""
    assert re.match(r"processed \d+ insns \(limit 1000000\)", program.counted)


def test_a_read_without_a_check_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "wild.bpf.c"
    source.write_text(
        (HERE / "parse.bpf.c").read_text().replace("(int)pk_parse", "data[0] + (int)pk_parse")
    )
    with (
        pytest.raises(RefusedError, match="invalid access to packet"),
        loaded(compile_for_kernel(source, tmp_path)),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "least"),
    [
        pytest.param(frames.of_cases, 1000, id="cases"),
        pytest.param(frames.of_the_fuzzer, 50, id="fuzzer"),
        pytest.param(frames.of_recordings, 500, id="recordings"),
    ],
)
def test_frames_of_other_tests_are_parsed_as_by_the_reference(
    program: Program, given: frames.Given, least: int
) -> None:
    assert len(compare(program, given())) > least


def test_random_traffic_is_parsed_as_by_the_reference(program: Program) -> None:
    made = [each for seed in range(12) for each in compare(program, frames.of_traffic(seed, 600))]
    views = [each for each in made if isinstance(each, View)]
    assert len(made) > 3000
    assert {each for each in made if isinstance(each, Reason)} == {
        Reason.NOT_OURS, Reason.TRUNCATED, Reason.BAD_HEADER, Reason.BAD_CHECKSUM,
        Reason.BAD_FRAGMENT,
    }  # fmt: skip
    for size in (4, 16):
        of_family = [view for view in views if view.size == size]
        assert any(view.is_later for view in of_family)
        assert any(view.fragment and not view.is_later for view in of_family)
        assert any(view.quote and not view.quote.around for view in of_family)
        assert any(view.quote and view.quote.around for view in of_family)
