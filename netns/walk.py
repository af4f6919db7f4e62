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
from netns.stage import CURL, EACH_ALONE
from netns.table import Cell, Colour, header, line, paint
from netns.topology import Topology

if TYPE_CHECKING:
    from scapy.packet import Packet

FILTER: Final = "tcp or ip proto 4 or ip proto 41 or ip6 proto 4 or ip6 proto 41"
FAMILIES: Final = {"IP": "4", "IPv6": "6"}
"The layers that are IP headers, by scapy's names for them."
LIFE: Final = {"IP": "ttl", "IPv6": "hlim"}
PER_LINE: Final = 2

TITLES: Final = ("", "from MAC", "to MAC", "from", "to", "TTL", "")
WIDTHS: Final = (16, 14, 14, 17, 17, -4, 10)

PHASES: Final = {
    "S": "SYN: the client asks for a connection",
    "SA": "SYN-ACK: the server agrees",
}
"The packets that are shown, by their TCP flags."


class Header(NamedTuple):
    """The fields of an IP header and its ports that a hop may change, as text."""

    source: str
    destination: str
    ttl: str


NOTHING: Final = Header("", "", "")
NO_MACS: Final = ("-", "-")
"The MAC addresses of a packet on a TUN device, which has no Ethernet."


@dataclass(frozen=True, slots=True)
class Sighting:
    """One packet on one interface."""

    time: Decimal
    "To the nanosecond, which a float cannot tell."
    flags: str
    place: str
    macs: tuple[str, str]
    headers: tuple[Header, ...]
    "From the inside out: two of them in a tunnel."
    families: str
    "The versions of the headers, from the inside out: 46 is IPv4 in IPv6."

    @property
    def client(self) -> str:
        """The client's end of the connection, which no hop changes."""
        inner = self.headers[0]
        return inner.source if self.flags == "S" else inner.destination


class Scene(NamedTuple):
    """One packet of a connection on its way."""

    title: str
    way: list[Sighting]


def walk(topology: Topology) -> None:
    """Send requests and print the way of the first packets of each kind of connection."""
    with topology.laboratory() as lab:
        topology.build(lab)
        for program in topology.decapsulators() + topology.servers():
            lab.hosts[program.host].start(*program.argv, ready=program.ready)
        for balancer, arguments in topology.runs().items():
            lab.hosts[balancer].pktlb(*arguments)
        sightings = watch_requests(lab, topology)
        names = interface_names(lab)
    print(topology.introduction())
    shown = []
    for scene in scenes(sightings):
        print(paint(scene.title, Colour.TITLE))
        print(header(TITLES, WIDTHS))
        print("\n".join(rows(scene.way, names)) + "\n")
        shown += scene.way
    print("\n".join(legend(shown, names)))


def watch_requests(lab: Lab, topology: Topology) -> list[Sighting]:
    """Everything of some requests that was on any interface, in the order of time.

    One request, or one for each VIP and backend where there are several VIPs.
    """
    legs = [(lab.hosts[host], ifname) for host, ifname in topology.legs]
    for name in topology.backends:
        backend = lab.hosts[name]
        legs += [(backend, ifname) for ifname in backend.interfaces() if ifname != "lo"]
    captures = [(host, ifname, host.capture(ifname, FILTER)) for host, ifname in legs]
    each = len(topology.backends) if topology.more_vips else 1
    topology.client(lab).run(*CURL, *EACH_ALONE, *(topology.urls * each))
    seen = [
        sighting(host, ifname, packet)
        for host, ifname, capture in captures
        for packet in capture.stop()
    ]
    return sorted(seen, key=lambda it: it.time)


def sighting(host: Host, ifname: str, packet: "Packet") -> Sighting:
    """The parts of a captured frame that are shown."""
    ethernet = packet.name == "Ethernet"
    macs = (packet.src, packet.dst) if ethernet else NO_MACS
    place = f"{host} {ifname} →" if macs[0] == host.macs.get(ifname) else f"→ {host} {ifname}"
    layer = packet.payload if ethernet else packet
    ips = []
    while layer.name in FAMILIES:
        ips.append(layer)
        layer = layer.payload
    headers = [Header(ip.src, ip.dst, str(getattr(ip, LIFE[ip.name]))) for ip in ips]
    inner = headers.pop()
    source, destination = joined(inner.source, layer.sport), joined(inner.destination, layer.dport)
    headers.append(inner._replace(source=source, destination=destination))
    families = "".join(FAMILIES[ip.name] for ip in reversed(ips))
    return Sighting(packet.time, str(layer.flags), place, macs, tuple(reversed(headers)), families)


def joined(address: str, port: int) -> str:
    """An end of a connection, as people write it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def scenes(sightings: list[Sighting]) -> Iterator[Scene]:
    """The first SYN through each kind of tunnel there is, the first SYN-ACK of each family."""
    connections: dict[str, list[Sighting]] = {}
    for it in sightings:
        if it.flags in PHASES:
            connections.setdefault(it.client, []).append(it)
    kinds: dict[str, list[Sighting]] = {}
    for way in connections.values():
        kinds.setdefault(max((it.families for it in way), key=len), way)
    answered = set()
    for kind, way in sorted(kinds.items()):
        for flags, title in PHASES.items():
            if flags == "S" or kind[0] not in answered:
                told = title.replace(":", f", {written(kind)}:", 1) if len(kinds) > 1 else title
                yield Scene(told, [it for it in way if it.flags == flags])
        answered.add(kind[0])


def written(families: str) -> str:
    """The kind of a connection in words."""
    inner, outer = families[0], families[1:]
    return f"IPv{inner} in IPv{outer}" if outer else f"IPv{inner}"


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
    """The lines that explain marks and names."""
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
