"""What a new service gets in the way of is told: a listener of the machine, its only address."""

from ipaddress import ip_address

import pytest

from pktlb.config.service import Service
from pktlb.host.machine import Address, Link, Listener, Machine
from pktlb.model import Mode, Proto, Scheduler, Vip
from pktlb.plan.caveat import caveats, pending_anew, suspects
from pktlb.plan.placement import TUN, Pending, Placement

WAN, LAN, LO, DEVICE = 2, 3, 1, 9
TCP, UDP = (Proto.TCP,), (Proto.UDP,)
REACH = "clients of the VIP no longer reach it"


def packed(text: str) -> bytes:
    return ip_address(text).packed


LINKS = {
    LO: Link(LO, "lo", b"", 65536, True),
    WAN: Link(WAN, "wan", bytes(6), 1500, True),
    LAN: Link(LAN, "lan", bytes(6), 1500, True),
    DEVICE: Link(DEVICE, TUN, b"", 1500, True),
}


def service(address: str, low: int = 22, high: int = 0, protos: tuple[int, ...] = TCP) -> Service:
    return Service(Vip(packed(address), low, high or low, protos), Mode.NAT, Scheduler.RR, ())


def listener(address: str, port: int = 22, proto: int = Proto.TCP, takes_ipv4: bool = True,
             holder: str = "sshd, pid 812") -> Listener:  # fmt: skip
    raw = packed(address)
    return Listener(proto, raw, port, takes_ipv4 and len(raw) == 16, holder)


def told(
    new: Service, *listeners: Listener, addresses: tuple[tuple[str, int], ...] = (),
    added: tuple[tuple[str, int], ...] = (), before: tuple[Service, ...] = (),
) -> list[str]:  # fmt: skip
    """The caveats of a service on a machine with two addresses at `wan`, or with `addresses`."""
    there = addresses or (("10.0.1.1", WAN), ("10.0.1.2", WAN), ("2001:db8::1", WAN),
                          ("2001:db8::2", WAN))  # fmt: skip
    machine = Machine(LINKS, [Address(packed(a), 24, link) for a, link in there], {}, {})
    ours = [(packed(a), link) for a, link in added]
    return list(caveats([new], before, machine, ours, listeners))


@pytest.mark.parametrize("address", ["10.0.1.1", "0.0.0.0", "::"])
def test_a_listener_at_the_vip_s_port_is_named(address: str) -> None:
    said = f"vip 10.0.1.1:22/tcp: this machine listens there itself (sshd, pid 812): {REACH}"
    assert told(service("10.0.1.1"), listener(address)) == [said]


@pytest.mark.parametrize("address", ["2001:db8::1", "::"])
def test_a_listener_of_ipv6_is_named(address: str) -> None:
    said = f"vip [2001:db8::1]:22/tcp: this machine listens there itself (sshd, pid 812): {REACH}"
    assert told(service("2001:db8::1"), listener(address)) == [said]


@pytest.mark.parametrize(
    "other",
    [
        listener("10.0.1.2"),
        listener("127.0.0.1"),
        listener("::", takes_ipv4=False),
        listener("2001:db8::1"),
        listener("0.0.0.0", port=2222),
        listener("0.0.0.0", proto=Proto.UDP),
    ],
)
def test_another_listener_is_not(other: Listener) -> None:
    assert told(service("10.0.1.1"), other) == []


def test_a_listener_of_ipv4_is_none_of_an_ipv6_vip() -> None:
    assert told(service("2001:db8::1"), listener("0.0.0.0")) == []


def test_a_vip_that_pktlb_has_added_has_no_listener_of_its_own() -> None:
    there = (("10.0.1.1", WAN), ("10.0.1.2", WAN))
    assert told(service("10.0.1.1"), listener("0.0.0.0"), addresses=there,
                added=(("10.0.1.1", WAN),)) == []  # fmt: skip


def test_one_listener_in_both_families_is_named_once() -> None:
    both = (listener("0.0.0.0"), listener("::"))
    assert len(told(service("10.0.1.1"), *both)) == 1


def test_a_service_of_many_ports_names_four_listeners_and_counts_the_others() -> None:
    ports = (listener("0.0.0.0", port, holder=f"uid {port}") for port in range(20, 29))
    vip = "vip 10.0.1.1:21-27/tcp: this machine listens on"
    assert told(service("10.0.1.1", 21, 27), *ports) == [
        *(f"{vip} {port}/tcp itself (uid {port}): {REACH}" for port in range(21, 25)),
        f"{vip} 3 more of its ports",
    ]


@pytest.mark.parametrize("protos", [(), (Proto.TCP, Proto.UDP)])
def test_a_service_of_several_protocols_is_in_the_way_of_each(protos: tuple[int, ...]) -> None:
    both = (listener("0.0.0.0", 53), listener("0.0.0.0", 53, Proto.UDP))
    assert len(told(service("10.0.1.1", 0, 65535, protos), *both)) == 2


ONLY = [
    ((("10.0.1.1", WAN), ("10.0.2.1", LAN)), True),
    ((("10.0.1.1", WAN), ("10.0.1.2", WAN)), False),
    ((("10.0.1.1", WAN), ("2001:db8::1", WAN)), True),
    ((("10.0.1.1", WAN), ("10.0.1.1", DEVICE)), True),
    ((("127.0.0.1", LO), ("10.0.1.1", LO)), False),
]


@pytest.mark.parametrize(("addresses", "is_only"), ONLY)
def test_the_only_address_of_an_interface(
    addresses: tuple[tuple[str, int], ...], is_only: bool
) -> None:
    said = (
        "vip 10.0.1.1: is the only address of wan: this machine has no other one there for itself"
    )
    assert told(service("10.0.1.1"), addresses=addresses) == [said] * is_only


def test_a_link_local_address_of_ipv6_is_no_other_one() -> None:
    there = (("2001:db8::1", WAN), ("fe80::1", WAN))
    (said,) = told(service("2001:db8::1"), addresses=there)
    assert said.startswith("vip 2001:db8::1: is the only address of wan: ")


def test_an_address_that_pktlb_has_added_is_no_other_one() -> None:
    there = (("10.0.1.1", WAN), ("10.0.1.100", WAN))
    assert told(service("10.0.1.1"), addresses=there, added=(("10.0.1.100", WAN),))


def test_the_only_address_is_told_of_its_first_service_alone() -> None:
    there = (("10.0.1.1", WAN),)
    assert told(service("10.0.1.1", 80), addresses=there, before=(service("10.0.1.1"),)) == []


def test_a_new_vip_that_pktlb_does_not_add_is_suspect() -> None:
    old, own, added = (service(f"10.0.1.{last}") for last in (1, 2, 100))
    of_all = Service(Vip(b""), Mode.DSR, Scheduler.RR, ())
    placement = Placement((), ((packed("10.0.1.100"), WAN),), (), False, range(0))
    assert suspects([old], [old, own, added, of_all], placement) == [own]


def test_what_is_pending_from_now_on_and_not_refused_is_told() -> None:
    def waiting(*pending: Pending) -> Placement:
        return Placement((), (), (), False, range(0), pending=pending)

    old, new = Pending("backend a", "x", False), Pending("backend b", "y", False)
    after = waiting(old, new, Pending("vip c", "z"))
    assert pending_anew(waiting(old), after) == ("backend b: y",)
