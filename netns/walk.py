"""A walk with one connection: what its packets look like on every interface that they pass.

Each interface is captured, the captures are put in the order of time, and each hop is compared
with the one before it: nothing is taken from what pktlb should do, only from what was on the wire.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from netns.host import Host
from netns.lab import Lab
from netns.table import Cell, Colour, header, line, paint
from netns.topology import Topology

if TYPE_CHECKING:
    from scapy.packet import Packet

FILTER: Final = "tcp or ip proto 4"
IPIP: Final = 4
PER_LINE: Final = 2

TITLES: Final = ("", "from MAC", "to MAC", "from", "to", "TTL", "")
WIDTHS: Final = (16, 14, 14, 17, 17, -4, 10)

PHASES: Final = {
    "S": "SYN: the client asks for a connection",
    "SA": "SYN-ACK: the server agrees",
}
"The packets that are shown, by their TCP flags."


class Header(NamedTuple):
    """What of IP header and ports a hop may change, as text."""

    source: str
    destination: str
    ttl: str


NOTHING: Final = Header("", "", "")
NO_MACS: Final = ("-", "-")
"Of a packet on a TUN device: there is no Ethernet."


@dataclass(frozen=True, slots=True)
class Sighting:
    """One packet on one interface."""

    time: Decimal
    "When, to the nanosecond: a float would not tell neighbours apart."
    flags: str
    place: str
    macs: tuple[str, str]
    headers: tuple[Header, ...]
    "From the inside out: two of them in a tunnel."


def walk(topology: Topology) -> None:
    """Send one request and print the way of its first packets."""
    with Lab(topology.mode) as lab:
        topology.build(lab)
        for program in topology.decapsulators() + topology.servers():
            lab.hosts[program.host].start(*program.argv, ready=program.ready)
        lab.hosts[topology.balancer].pktlb(*topology.run_arguments("rr"))
        sightings = watch_one_request(lab, topology)
        names = interface_names(lab)
    print(topology.introduction())
    for flags, title in PHASES.items():
        print(paint(title, Colour.TITLE))
        print(header(TITLES, WIDTHS))
        way = [sighting for sighting in sightings if sighting.flags == flags]
        print("\n".join(rows(way, names)) + "\n")
    print("\n".join(legend(sightings, names)))


def watch_one_request(lab: Lab, topology: Topology) -> list[Sighting]:
    """Everything of one request that was on any interface, in the order of time."""
    legs = [(lab.hosts[host], ifname) for host, ifname in topology.legs]
    for name in topology.backends:
        backend = lab.hosts[name]
        legs += [(backend, ifname) for ifname in backend.interfaces() if ifname != "lo"]
    captures = [(host, ifname, host.capture(ifname, FILTER)) for host, ifname in legs]
    topology.client(lab).run("curl", "--silent", "--fail", "--max-time", "10", topology.url)
    seen = [
        sighting(host, ifname, packet)
        for host, ifname, capture in captures
        for packet in capture.stop()
    ]
    return sorted(seen, key=lambda it: it.time)


def sighting(host: Host, ifname: str, packet: "Packet") -> Sighting:
    """What of a captured frame is worth showing."""
    macs = (packet.src, packet.dst) if packet.name == "Ethernet" else NO_MACS
    place = f"{host} {ifname} →" if macs[0] == host.macs.get(ifname) else f"→ {host} {ifname}"
    ip = packet["IP"]
    outer = []
    if ip.proto == IPIP:
        outer = [Header(ip.src, ip.dst, str(ip.ttl))]
        ip = ip.payload
    tcp = ip["TCP"]
    inner = Header(f"{ip.src}:{tcp.sport}", f"{ip.dst}:{tcp.dport}", str(ip.ttl))
    return Sighting(packet.time, str(tcp.flags), place, macs, (inner, *outer))


def interface_names(lab: Lab) -> dict[str, str]:
    """Readable names of all MAC addresses: host and interface."""
    return {mac: f"{it}.{ifname}" for it in lab.hosts.values() for ifname, mac in it.macs.items()}


def rows(way: list[Sighting], names: dict[str, str]) -> Iterator[str]:
    """The lines of a table: one for each IP header, with a star where the last hop had another."""
    for before, now in zip([way[0], *way], way, strict=False):
        place = now.place
        macs = marked(*([names.get(mac, mac) for mac in one.macs] for one in (now, before)))
        for depth in reversed(range(len(now.headers))):
            was = before.headers[depth] if depth < len(before.headers) else NOTHING
            header_cells = marked(now.headers[depth], was)
            yield line([Cell(place), *macs, *header_cells, role(now, before, depth)], WIDTHS)
            place, macs = "", [Cell(""), Cell("")]


def marked(new: Iterable[str], old: Iterable[str]) -> list[Cell]:
    """Cells that show what is new."""
    return [
        Cell(f" {now}") if now == was else Cell(f"*{now}", Colour.CHANGED)
        for now, was in zip(new, old, strict=True)
    ]


def role(now: Sighting, before: Sighting, depth: int) -> Cell:
    """Which of two IP headers this is."""
    if len(now.headers) < len(before.headers):
        return Cell("*unwrapped", Colour.CHANGED)
    if len(now.headers) == 1:
        return Cell("")
    return Cell("outer" if depth else "inner", Colour.FAINT)


def legend(sightings: list[Sighting], names: dict[str, str]) -> list[str]:
    """What the marks and names stand for."""
    seen = {mac for sighting in sightings for mac in sighting.macs} & names.keys()
    entries = [f"{names[mac]:<14} {mac}" for mac in sorted(seen)]
    told = [
        "  * changed since the hop before.   host → sent, → host received.   The switch changes",
        "  nothing and is left out.   Interfaces and their MAC addresses:",
    ]
    told += [
        "    " + "   ".join(entries[start : start + PER_LINE])
        for start in range(0, len(entries), PER_LINE)
    ]
    return told
