"""What is told of a link, in messages as the kernel sends them; this needs no VLAN devices."""

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from pktlb.host.netlink import keeps_tags

GVRP, REORDER_HDR = 2, 1


def told(kind: str, *data: tuple[str, object]) -> ifinfmsg:
    message = ifinfmsg()
    info = [("IFLA_INFO_KIND", kind)]
    if data:
        info.append(("IFLA_INFO_DATA", {"attrs": list(data)}))  # type: ignore[arg-type]
    message["attrs"] = [("IFLA_IFNAME", "eth0.5"), ("IFLA_LINKINFO", {"attrs": info})]
    message.encode()
    decoded = ifinfmsg(message.data)
    decoded.decode()
    return decoded


@pytest.mark.parametrize(
    ("flags", "keeps"),
    [(0, True), (GVRP, True), (REORDER_HDR, False), (REORDER_HDR | GVRP, False)],
)
def test_a_vlan_interface_with_reorder_hdr_off_keeps_the_tag(flags: int, keeps: bool) -> None:
    vlan = ("IFLA_VLAN_ID", 5), ("IFLA_VLAN_FLAGS", {"flags": flags, "mask": 0xFFFFFFFF})
    assert keeps_tags(told("vlan", *vlan)) is keeps


def test_other_links_keep_no_tag() -> None:
    assert keeps_tags(told("veth")) is False
    assert keeps_tags(told("bridge", ("IFLA_BR_STP_STATE", 0))) is False
    plain = ifinfmsg()
    plain.encode()
    assert keeps_tags(plain) is False
