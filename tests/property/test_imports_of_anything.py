"""Any input of the importer, and any command line of ipvsadm, gives a result or a sentence."""

import io
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pktlb.compat.importer.program import convert
from pktlb.compat.ipvsadm import program
from pktlb.config.file import read
from pktlb.errors import PktlbError
from tests.support.fake_api import FakeApi

KEEPALIVED = (
    "virtual_server virtual_server_group group fwmark real_server lvs_sched lb_algo lb_kind "
    "lvs_method protocol weight uthreshold lthreshold persistence_timeout persistence_granularity "
    'ops mh-port TCP_CHECK vrrp_instance include global_defs lvs_timeouts tcp { } ! # " \\ @a '
    "$A $A=$A ${A} $B=10.0.0.1 web rr sh dh mh NAT DR TUN TCP UDP SCTP 10.0.0.1 10.0.0.1-9 fd00::1 "
    "fd00::1-ff 10.0.0.2 80 0 1 65536 -1 255.255.255.0 64 \x00 é"
)
WORDS = st.sampled_from(KEEPALIVED.split())
LINES = st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=20).map("\n".join)
BLOCKS = LINES.map(lambda body: f"virtual_server 10.0.0.1 80 {{\n{body}\n}}\n")
IPVSADM = (
    "-A -E -D -C -a -e -d -L -l -S -R -Z --set --stats --rate -c -n --exact --sort -t -u -f -s -p "
    "-M -x -y -w -g -i -m -r -o -b --pe -6 -Ln -Sn 10.0.0.1:80 10.0.0.1 [fd00::1]:80 10.0.0.2:0 rr "
    "sh mh dh mh-port 255.255.0.0 255.0.255.0 64 0 5 70000 -- --weight= --scheduler=wlc '"
)
OPTIONS = st.sampled_from(IPVSADM.split())
COMMANDS = st.lists(OPTIONS, max_size=9)
RULES = st.lists(COMMANDS.map(" ".join), max_size=12).map("\n".join)


@pytest.fixture(scope="module", autouse=True)
def no_resolver() -> Iterator[None]:
    """No word is the name of a host, so no resolver is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pktlb.compat.ipvsadm.address._looked_up", lambda name: None)
        yield


@given(content=st.one_of(LINES, BLOCKS, RULES).map(str.encode) | st.binary(max_size=200))
def test_an_import_of_anything_gives_a_right_file_or_a_sentence(content: bytes) -> None:
    for kind in (None, "ipvsadm", "keepalived"):
        with suppress(PktlbError):
            text, notes = convert(content, "f", kind, follow=False)
            read(text, "made")
            assert all(note.text for note in notes)


@given(words=COMMANDS | st.lists(st.text(max_size=8), max_size=5), rules=RULES)
def test_any_command_line_ends_with_a_status(words: list[str], rules: str) -> None:
    api = FakeApi({"vip": "10.0.0.1:80/tcp", "backend": [{"address": "10.0.0.2:80"}]})
    out, err = io.StringIO(), io.StringIO()
    around = program.Surroundings(lambda: api, io.StringIO(rules), out, err, lambda _: None)
    status = program.run([*words, "-n"] if "-L" in words else words, around)
    assert status in (0, 1, 2)
    assert bool(err.getvalue()) == (status != 0) or "left out" in err.getvalue()
