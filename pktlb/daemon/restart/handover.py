"""From one process to the next: sockets with what waits in them, the flow table, what was added.

What is handed over stands in a file in memory that the next process finds by its descriptor. The
sockets stay open all the while, so the kernel goes on filling them; the addresses and the guard
stay in place, so nothing else ever handles a packet.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pktlb.engine.wire.port import Inherited, Port
from pktlb.errors import KernelError
from pktlb.host import fdstore
from pktlb.host.presence import STOPPING

_VARIABLE: Final = "PKTLB_HANDOVER"
"Number of the descriptor, in the environment of the next process."
_TRIAL: Final = "PKTLB_TRIAL"
_NOTE: Final = "note"
"What the service manager calls the file in memory; the others are called by their numbers."
_FORMAT: Final = 1
_LONGEST: Final = 64 << 20
_TRIAL_S: Final = 30.0
_KNOWS_BRIDGES: Final = "pktlb: would start, with a bridge"


@dataclass(frozen=True, slots=True)
class Handover:
    """What one process leaves to the next."""

    engine: str
    ports: Mapping[str, Inherited]
    "By the name of the interface."
    indexes: Mapping[str, int]
    "Of those interfaces: one that was replaced has another now."
    tun: int
    lock: int
    control: int
    "Descriptors; of the control socket -1, where there is none."
    added: Mapping[bytes, int]
    "Addresses that are there because of pktlb, with the link of each."
    state: int
    "Descriptor of a file with the flow table."
    config: str
    "The running configuration as a file would have it."
    leaving: Sequence[str]
    "The same with nothing but a backend that waits for its last flow, for each of those."
    bridge: tuple[int, int] | None = None
    "Descriptor and number of the process that moves the frames meanwhile, see `bridge`."

    def flows(self) -> bytes:
        """The flow table, and the file is closed."""
        with os.fdopen(self.state, "rb") as file:
            file.seek(0)
            return file.read()

    def inherited(
        self, engine: str, workers: int, index_of: Mapping[str, int]
    ) -> dict[str, Inherited]:
        """The sockets that the same engine can go on with; the others are closed."""
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
    """As it is written down."""
    ports = {
        name: [handover.indexes[name], list(left.sockets), list(left.rings), left.mtu]
        for name, left in handover.ports.items()
    }
    bridge = {"bridge": handover.bridge} if handover.bridge else {}
    return json.dumps(
        {
            "format": _FORMAT, "engine": handover.engine, "ports": ports, "tun": handover.tun,
            "lock": handover.lock, "control": handover.control, "state": handover.state,
            "added": {address.hex(): link for address, link in handover.added.items()},
            "config": handover.config, "leaving": handover.leaving,
            **bridge,
        }
    ).encode()  # fmt: skip


def unpack(data: bytes) -> Handover:
    """What `pack` has written, perhaps in another version; `KernelError` where it is not that."""
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
            state=said["state"],
            config=said["config"],
            leaving=said["leaving"],
            bridge=_bridge_of(said),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise KernelError(f"what was handed over cannot be read: {error}") from error


def _bridge_of(said: Mapping[str, Any]) -> tuple[int, int] | None:
    """Versions without one do not speak of it."""
    if "bridge" not in said:
        return None
    descriptor, pid = map(int, said["bridge"])
    return descriptor, pid


def left(ports: Iterable[Port]) -> dict[str, Inherited]:
    """What is left of ports whose workers have ended."""
    return {
        port.name: Inherited([raw.fileno() for raw in port.sockets], port.rings, port.mtu)
        for port in ports
    }


def in_memory(data: bytes) -> int:
    """A file in memory with this in it; its descriptor."""
    descriptor = os.memfd_create("pktlb", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    return descriptor


def is_expected() -> bool:
    """Whether something was handed over to this process, which `receive` is going to find."""
    return _VARIABLE in os.environ or _NOTE in fdstore.names()


def receive() -> Handover | None:
    """What was handed over to this process, if anything: by the one that became it, or by the
    service manager."""
    number = os.environ.pop(_VARIABLE, "")
    kept = {} if number else fdstore.stored()
    if not number and _NOTE not in kept:
        return None
    with os.fdopen(int(number or kept[_NOTE]), "rb") as file:
        file.seek(0)
        handover = unpack(file.read(_LONGEST))
    if kept:
        fdstore.remove(list(kept))
        handover = _renumbered(handover, {int(n): fd for n, fd in kept.items() if n != _NOTE})
    for descriptor in _descriptors(handover):
        os.set_inheritable(descriptor, False)
    return handover


def leave(handover: Handover) -> None:
    """Have the service manager keep everything for the process that it starts next; `OSError`
    where it does not take it."""
    kept = {str(descriptor): descriptor for descriptor in _descriptors(handover)}
    fdstore.store({**kept, _NOTE: in_memory(pack(handover))})


def _renumbered(handover: Handover, now: Mapping[int, int]) -> Handover:
    """With the descriptors that this process has."""
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
            state=now[handover.state],
        )
    except KeyError as error:
        raise KernelError(f"descriptor {error} was not kept by the service manager") from error


def is_trial() -> bool:
    """Whether this process is only to see if it could start."""
    return _TRIAL in os.environ


def pass_trial() -> None:
    """Say that this process could start, and what it knows how to take over."""
    print(_KNOWS_BRIDGES)


async def try_next() -> bool:
    """Have the next process come as far as it can without anything being handed over: the program,
    the flags and the file are what it will find. `KernelError` with its words where it cannot;
    else whether it knows how to end a bridge, which an earlier version would leave standing."""
    import asyncio  # noqa: PLC0415

    process = await asyncio.create_subprocess_exec(
        sys.executable, *sys.orig_argv[1:], env={**os.environ, _TRIAL: "1"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_TRIAL_S):
            said, complaint = await process.communicate()
    except TimeoutError as error:
        process.kill()
        raise KernelError(f"the next pktlb did not start within {_TRIAL_S:.0f} s") from error
    if process.returncode:
        lines = complaint.decode(errors="replace").strip().splitlines() or ["no message"]
        raise KernelError(f"the next pktlb would not start: {lines[-1]}")
    return _KNOWS_BRIDGES in said.decode(errors="replace").splitlines()


def become_next(handover: Handover) -> None:
    """Replace this process by the next one. Comes back with `KernelError` where that is refused."""
    note = in_memory(pack(handover))
    inherited = [note, *_descriptors(handover)]
    # Until the next one can undo its doings it must not be ended by a signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    for descriptor in inherited:
        os.set_inheritable(descriptor, True)
    try:
        environment = {**os.environ, _VARIABLE: str(note)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError as error:
        for descriptor in inherited:
            os.set_inheritable(descriptor, False)
        os.close(note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        raise KernelError(f"cannot start the next pktlb: {error}") from error


def _descriptors(handover: Handover) -> list[int]:
    sockets = [fd for each in handover.ports.values() for fd in each.sockets]
    bridge, _ = handover.bridge or (-1, 0)
    others = (handover.tun, handover.lock, handover.control, handover.state, bridge)
    return [fd for fd in (*sockets, *others) if fd >= 0]


def adopted(descriptor: int) -> socket.socket:
    """A socket that was handed over."""
    return socket.socket(fileno=descriptor)
