"""What is dropped of the kernel's own tunnels, as nftables rules."""

import re

from pktlb.host.tunnels import rules
from tests.support.packets import packed

VIPS = [packed("10.0.2.100"), packed("192.0.2.1"), packed("fd02::100")]


def test_each_pair_of_families_has_a_rule_for_its_answers_and_each_family_one_for_its_copies() -> (
    None
):
    found = rules(VIPS).splitlines()
    assert found == [
        "chain answers {",
        "type filter hook output priority -300; policy accept;",
        "meta l4proto 1 @th,0,16 { 0x0302, 0x0303 } @th,136,8 4 "
        "@th,352,32 { 0x0a000264, 0xc0000201 } counter drop",
        "meta l4proto 58 @th,0,16 { 0x0104, 0x0401 } @th,112,8 4 "
        "@th,512,32 { 0x0a000264, 0xc0000201 } counter drop",
        "meta l4proto 1 @th,0,16 { 0x0302, 0x0303 } @th,136,8 41 "
        "@th,416,128 { 0xfd020000000000000000000000000100 } counter drop",
        "meta l4proto 58 @th,0,16 { 0x0104, 0x0401 } @th,112,8 41 "
        "@th,576,128 { 0xfd020000000000000000000000000100 } counter drop",
        "}",
        "chain copies {",
        "type filter hook prerouting priority -300; policy accept;",
        "ip daddr { 10.0.2.100, 192.0.2.1 } meta iiftype { 768, 769, 776 } counter drop",
        "ip6 daddr { fd02::100 } meta iiftype { 768, 769, 776 } counter drop",
        "}",
    ]


def test_nothing_of_a_family_without_a_vip_is_dropped() -> None:
    assert not re.search(r"ip6|0xfd02|,8 41 ", rules(VIPS[:2]))
