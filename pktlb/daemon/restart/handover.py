"""What one process leaves to the next: sockets with waiting frames, the flow table, addresses.

Here is what is handed over and its form in writing; how it reaches the next process is in
`successor`.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pktlb.engine.wire.port import Inherited, Port
from pktlb.errors import KernelError

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Handover:
    """What one process leaves to the next."""

    engine: str
    ports: Mapping[str, Inherited]
    "Sockets, rings and MTU by the name of the interface."
    indexes: Mapping[str, int]
    "Index of each interface when its sockets were opened; a replaced interface has another one."
    tun: int
    lock: int
    control: int
    "Descriptors of the TUN device, the lock and the control socket (-1: there is none)."
    added: Mapping[bytes, int]
    "Addresses that pktlb has added, with the link of each."
    dump: int
    "Descriptor of a file with the dump of the plane; its key in writing is `state`."
    config: str
    "The configuration in use, as the text of a file."
    leaving: Sequence[str]
    "A file for each backend that waits for its last flow: its service with this backend alone."
    bridge: tuple[int, int] | None = None
    "Descriptor and number of the process that moves the frames meanwhile, see `bridge`."

    names: Mapping[str, int] = field(default_factory=dict)
    "Index of each interface by the name that the configuration has for it."

    def flows(self) -> bytes:
        """Read the dump, and close its file."""
        with os.fdopen(self.dump, "rb") as file:
            file.seek(0)
            return file.read()

    def inherited(
        self, engine: str, workers: int, index_of: Mapping[str, int]
    ) -> dict[str, Inherited]:
        """The sockets that this engine can go on with, by interface; the others are closed."""
        usable = {}
        for name, left in self.ports.items():
            same = engine == self.engine and len(left.sockets) == workers
            if same and index_of.get(name) == self.indexes[name]:
                usable[name] = left
            else:
                for descriptor in left.sockets:
                    os.close(descriptor)
        return usable

    def without_ports(self) -> "Handover":
        """The same with no sockets to go on with; they are closed."""
        self.inherited("", 0, {})
        return replace(self, ports={}, indexes={})


def pack(handover: Handover) -> bytes:
    """The handover in writing, as JSON."""
    ports = {
        name: [handover.indexes[name], list(left.sockets), list(left.rings), left.mtu]
        for name, left in handover.ports.items()
    }
    bridge = {"bridge": handover.bridge} if handover.bridge else {}
    return json.dumps(
        {
            "format": _FORMAT, "engine": handover.engine, "ports": ports, "tun": handover.tun,
            "lock": handover.lock, "control": handover.control, "state": handover.dump,
            "added": {address.hex(): link for address, link in handover.added.items()},
            "config": handover.config, "leaving": handover.leaving,
            "names": dict(handover.names),
            **bridge,
        }
    ).encode()  # fmt: skip


def unpack(data: bytes) -> Handover:
    """What `pack` has written, in this version of pktlb or another; else `KernelError`."""
    try:
        said: dict[str, Any] = json.loads(data)
        if said["format"] != _FORMAT:
            raise KernelError(f"what was handed over has format {said['format']}, not {_FORMAT}")
        ports = said["ports"].items()
        return Handover(
            engine=said["engine"],
            ports={name: Inherited(fds, rings, mtu) for name, (_, fds, rings, mtu) in ports},
            indexes={name: index for name, (index, *_) in ports},
            tun=said["tun"],
            lock=said["lock"],
            control=said["control"],
            added={bytes.fromhex(text): link for text, link in said["added"].items()},
            dump=said["state"],
            config=said["config"],
            leaving=said["leaving"],
            names=dict(said.get("names", {})),  # unknown to earlier versions
            bridge=_bridge_of(said),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise KernelError(f"what was handed over cannot be read: {error}") from error


def _bridge_of(said: Mapping[str, Any]) -> tuple[int, int] | None:
    """The bridge; older versions have none, and no key for it."""
    if "bridge" not in said:
        return None
    descriptor, pid = map(int, said["bridge"])
    return descriptor, pid


def left(ports: Iterable[Port]) -> dict[str, Inherited]:
    """What the next process inherits of `ports`, by name; their workers have stopped."""
    return {
        port.name: Inherited([raw.fileno() for raw in port.sockets], port.rings, port.mtu)
        for port in ports
    }


def in_memory(data: bytes) -> int:
    """The descriptor of a new file in memory that holds `data`."""
    descriptor = os.memfd_create("pktlb", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    return descriptor


def renumbered(handover: Handover, now: Mapping[int, int]) -> Handover:
    """The same with the descriptors of this process; `now` maps the old ones to them.

    Raises `KernelError` where one is missing.
    """
    try:
        return replace(
            handover,
            ports={
                name: left._replace(sockets=[now[fd] for fd in left.sockets])
                for name, left in handover.ports.items()
            },
            tun=now[handover.tun],
            lock=now[handover.lock],
            control=now.get(handover.control, -1),
            dump=now[handover.dump],
        )
    except KeyError as error:
        raise KernelError(f"descriptor {error} was not kept by the service manager") from error


def descriptors(handover: Handover) -> list[int]:
    sockets = [fd for each in handover.ports.values() for fd in each.sockets]
    bridge, _ = handover.bridge or (-1, 0)
    others = (handover.tun, handover.lock, handover.control, handover.dump, bridge)
    return [fd for fd in (*sockets, *others) if fd >= 0]
