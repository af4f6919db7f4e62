"""Any configuration that can be is written and read again; any text is read, or refused by line."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pktlb.config.config import Config
from pktlb.config.document import understand
from pktlb.config.file import read, write
from pktlb.config.keys import BackendKeys, BalancerKeys, ServiceKeys
from pktlb.errors import FileError

LINE = re.compile(r"f:[1-9]\d*: \S.*")
WORDS = [*BackendKeys.model_fields, *ServiceKeys.model_fields, *BalancerKeys.model_fields]
WORDS += ["service", "balancer", "syn"]
NAMES = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["a", '"\\', "é"])


def maybe(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these keys."""
    return st.fixed_dictionaries({}, optional=keys)


def table(required: dict[str, Any], **keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required, optional=keys)


ADDRESSES = st.integers(1, 9).map(lambda n: f"10.0.2.{n}")
VIPS = st.builds(
    "{}{}".format,
    st.sampled_from(["203.0.113.1", "203.0.113.2"]),
    st.sampled_from([":80", ":81/udp", ":82/any", ":1-65535/any", "", "/tcp", "/gre"]),
) | st.sampled_from(["[2001:db8::1]:80", "2001:db8::2/esp", "[2001:db8::1]:1-2", "any"])
MODES = st.sampled_from(["nat", "dsr", "tunnel"])
HASHES = st.sampled_from(["mac", "source", "source/24/64", "addresses,symmetric", "5-tuple"])
BACKENDS = table(
    {"address": ADDRESSES | st.sampled_from(["10.0.2.1:80", "2001:db8:2::1"])},
    weight=st.integers(0, 65535), name=NAMES, mode=MODES, drain=st.booleans(),
    max_connections=st.integers(3, 9), resume_connections=st.integers(0, 5),
)  # fmt: skip
SERVICES = table(
    {
        "vip": VIPS | st.lists(VIPS, min_size=1, max_size=3, unique=True),
        "mode": MODES,
        "backend": st.lists(BACKENDS, min_size=1, max_size=4, unique_by=lambda b: b["address"]),
    },
    name=st.sampled_from(["a", "b"]) | NAMES,
    scheduler=st.sampled_from(["rr", "lc", "p2c", "source", "maglev", "hash"]),
    hash=HASHES, one_packet=st.booleans(), pick_up=st.booleans(), persist=st.integers(0, 9),
    persist_prefix4=st.integers(1, 32), persist_prefix6=st.integers(1, 128),
    slow_start=st.integers(0, 9), on_remove=st.sampled_from(["reset", "drop", "keep"]),
)  # fmt: skip
BALANCERS = maybe(
    name=st.sampled_from(["a", "b.c"]), interfaces=st.lists(st.sampled_from(["a", "b"])),
    vip_interface=st.just("a"), max_flows=st.integers(1, 9), workers=st.integers(1, 9),
    snat=st.lists(st.sampled_from(["10.0.9.1", "10.0.9.2", "10.0.9.2-10.0.9.9", "2001:db8:9::1"])),
    timeouts=maybe(syn=st.integers(1, 9), udp=st.integers(1, 9)), busy_poll_us=st.integers(0, 9),
    realtime=st.booleans(), engine=st.sampled_from(["auto", "native", "python"]),
    control=st.just("/x/y"), control_group=st.just("adm"),
)  # fmt: skip
DOCUMENTS = table({"service": st.lists(SERVICES, min_size=1, max_size=4)}, balancer=BALANCERS)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | VIPS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
FILE = """\
[balancer]
interfaces = ["wan", "lan"]
timeouts = { syn = 5, udp = 6 }
[[service]]
name = "web"
vip = ["203.0.113.10:80", "[2001:db8::10]:80-90/any"]
mode = "tunnel"
persist = 300
[[service.backend]]
address = "10.0.2.11"
weight = 3
[[service]]
vip = "203.0.113.10:53/udp"
mode = "nat"
backend = [ { address = "10.0.2.12:5353", drain = true }, { address = "10.0.2.13" } ]
"""


def tolerant(document: dict[str, Any]) -> Config:
    """The configuration of all that is right, and agrees with what came before it."""
    kept: dict[str, Any] = {"balancer": {}, "service": []}

    def put(table: dict[str, Any], keys: dict[str, Any]) -> None:
        """Those keys that may be there."""
        for key, value in keys.items():
            table[key] = value
            if understand(kept)[1]:
                del table[key]

    def add(tables: list[Any], table: dict[str, Any]) -> bool:
        tables.append(table)
        if understand(kept)[1]:
            tables.pop()
        return tables[-1:] == [table]

    put(kept["balancer"], document.get("balancer", {}))
    for each in document["service"]:
        rest = dict(each)
        backends, new = rest.pop("backend"), {"vip": rest.pop("vip"), "mode": rest.pop("mode")}
        new["backend"] = []
        if add(kept["service"], new):
            put(new, rest)
            for backend in backends:
                plain = {"address": backend["address"]}
                if add(new["backend"], plain):
                    put(plain, backend)
    return understand(kept)[0]


def complaints(text: str) -> tuple[str, ...]:
    try:
        read(text, "f")
    except FileError as error:
        return error.problems
    return ()


@given(DOCUMENTS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read_again(document: dict[str, Any]) -> None:
    config = tolerant(document)
    text = write(config)
    assert read(text, "f") == config
    assert write(read(text, "f")) == text


@given(VALUES)
@example({"service": [{"vip": ["x"], "mode": "nat"}]})
@example({"service": [{"vip": [], "mode": 3, "backend": [{"address": None}, {"weight": []}]}]})
@settings(max_examples=300, deadline=None)
def test_no_document_is_too_strange(document: object) -> None:
    config, problems = understand(document)
    assert isinstance(config, Config)
    for problem in problems:
        assert problem.what.isprintable()
        assert len(problem.what) < 300


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_file_that_was_spoilt_is_refused_line_by_line(data: st.DataObject) -> None:
    text = FILE
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        new = data.draw(
            st.sampled_from([*WORDS, "", '"', "[", "[[", "]", "{", "\n", "=", "-1", "."])
        )
        text = text[:start] + new + text[end:]
    last = text.count("\n") + 1
    for line in complaints(text):
        assert LINE.fullmatch(line), line
        assert int(line.split(":")[1]) <= last


@given(st.text() | st.text("[]{}=\"'.#\n\\abc1 ,-:"))
@settings(max_examples=200, deadline=None)
def test_no_text_is_too_strange(text: str) -> None:
    assert all(LINE.fullmatch(line) for line in complaints(text))


def test_a_key_with_a_mistake_is_found_in_any_place() -> None:
    """So that the tests above are known to read what they spoil."""
    for key in ("interfaces", "syn", "persist", "weight", "drain"):
        with pytest.raises(
            FileError, match=rf"x{key}: unknown key, got .* \(did you mean {key}\?\)"
        ):
            read(FILE.replace(f"{key} =", f"x{key} ="), "f")
