"""One step of a life: a frame arrives, tables are swapped, flows expire, or a plane starts anew.

Steps are plain values. A list of them can be replayed by any engine, and some of them left out.
"""

from typing import NamedTuple

from pktlb.engine.datapath.frame import Frame, Offload
from pktlb.engine.datapath.keys import FlowKey, address_of, port_of
from pktlb.engine.datapath.limits import Limits
from pktlb.engine.datapath.tables import ServiceTable, Tables
from pktlb.model import HASHES, format_address
from tests.support.gateway import describe
from tests.support.keys import format_key


class Arrival(NamedTuple):
    """A frame arrives."""

    now: float
    port: int
    data: bytes
    offload: Offload

    def frame(self) -> Frame:
        """A copy that a plane may rewrite."""
        return Frame(self.port, bytearray(self.data), self.offload)


class Swap(NamedTuple):
    """Tables are swapped for these."""

    tables: Tables


class Expiry(NamedTuple):
    """Up to `most` flows expire."""

    now: float
    most: int


class Restart(NamedTuple):
    """Each plane is replaced by a new one that loads a dump."""

    now: float
    crossed: bool
    "Whether each loads the other's dump. That shows other losses than loading its own does."


class Kill(NamedTuple):
    """An operator kills the flows of these keys."""

    keys: tuple[FlowKey, ...]


Step = Arrival | Swap | Expiry | Restart | Kill


def tell(step: Step) -> str:
    """A step as text."""
    match step:
        case Arrival():
            return f"at {step.now:.3f} arrives {tell_frame(step.frame())}"
        case Swap():
            return f"swap to {tell_tables(step.tables)}"
        case Expiry():
            return f"at {step.now:.3f} expire, at most {step.most}"
        case Restart():
            return f"at {step.now:.3f} both start anew{', from each other' * step.crossed}"
        case Kill():
            return f"kill {', '.join(map(format_key, step.keys))}"


def tell_frame(given: Frame) -> str:
    """As `describe`, even where scapy cannot read the frame."""
    try:
        return describe(given)
    except Exception as error:  # scapy, on noise
        return f"port {given.port}, {given.offload}: {error!r}\n  {given.data[:120].hex(' ')}"


def tell_tables(tables: Tables) -> str:
    """Tables as text; long sequences of slots are cut short."""
    services = [
        f"{each.vip} {each.mode.name} {each.scheduler.name} {tell_options(each)}"
        f"{' '.join(f'{b}*{w}' for b, w in zip(each.backends, each.weights, strict=True))} "
        f"of {' '.join(map(str, each.members))} "
        f"slots {list(each.slots[:12])}{'...' if len(each.slots) > 12 else ''}"
        for each in tables.all_services
    ]
    hops = [
        f"to {format_address(address)} by port {hop.port}, {hop.macs.hex(' ')}, mtu {hop.mtu}"
        for address, hop in tables.hops.items()
    ]
    ports = [f"port {n}: {p.mac.hex(' ')}, mtu {p.mtu}" for n, p in tables.ports.items()]
    replies = [f"{format_address(address_of(key))}:{port_of(key)}/{key[-1]}"
               for key in sorted(tables.replies.exact)]  # fmt: skip
    replies += [
        f"{format_address(address)}:{span.low}-{span.high}/{span.proto}"
        for address, spans in tables.replies.spans.items()
        for span in spans
    ]
    rest = [
        f"replies {' '.join(replies)}",
        f"snat {' '.join(map(format_address, sorted(tables.snat)))}",
        f"own {' '.join(map(format_address, sorted(tables.own)))} ports {tables.own_ports}",
        *(
            f"removed {key.hex()} {gone} {on_remove.name}"
            for (key, gone), on_remove in tables.removed.items()
        ),
        f"hash key {tables.hash_key.hex()}",
        f"spread {sorted(tables.spread)} not from {[m.hex() for m in sorted(tables.appliances)]}",
    ]
    return "\n    ".join(["tables", *services, *hops, *ports, *rest])


def tell_options(each: ServiceTable) -> str:
    """The options of a service as text, with a space behind each."""
    on = each.hash_on
    told = [
        *(["one packet"] if each.one_packet else []),
        *(["pick up"] if each.pick_up else []),
        *([f"by {on}"] if each.scheduler in HASHES else []),
        *([f"modes {[mode.name for mode in each.modes]}"] if each.modes else []),
        *([f"thresholds {each.thresholds}"] if each.thresholds else []),
        *(
            [f"persist {each.persist_s} s by /{each.persist4} /{each.persist6}"]
            if each.persist_s
            else []
        ),
    ]
    return "".join(f"{word} " for word in told)


def tell_limits(limits: Limits) -> str:
    ports = limits.source_ports
    listed = list(ports) if len(ports) < 20 else f"{ports[0]}..{ports[-1]} ({len(ports)})"
    return f"max_flows {limits.max_flows}, {limits.timeouts}, source_ports {listed}"
