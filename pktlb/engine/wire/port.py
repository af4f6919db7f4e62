"""One interface through AF_PACKET sockets: whole frames with their offload headers.

Bound to all protocols, for only then it sees frames before the nftables ingress hook, where the
guard keeps the kernel away from them. See packet(7) and, for the header that carries checksum and
segmentation offloads, `pktlb.engine.datapath.frame`.
"""

import ctypes
import errno
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pktlb.engine.datapath.frame import VNET_LENGTH, Frame, unpack_offload
from pktlb.engine.wire.filter import NOTHING, Program
from pktlb.errors import refused

_ETH_P_ALL: Final = 3
_SOL_PACKET: Final = 263
_PACKET_RX_RING: Final = 5
_PACKET_STATISTICS: Final = 6
_PACKET_VNET_HDR: Final = 15
_PACKET_FANOUT: Final = 18
_PACKET_IGNORE_OUTGOING: Final = 23
_FANOUT_HASH: Final = 0
_FANOUT_UNIQUE_ID: Final = 0x2000
_FANOUT_IGNORE_OUTGOING: Final = 0x4000
_SO_ATTACH_FILTER: Final = 26
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_REQUEST_LENGTH: Final = 16
"Of `struct tpacket_req`; all zeros: no ring."
_BUFFER: Final = 8 << 20
"Bytes queued by the kernel either way; a 64 KiB frame counts with what it occupies."
_LONGEST: Final = VNET_LENGTH + 14 + 4 + 40 + 65535


class _FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class Inherited(NamedTuple):
    """What another process has left of a port."""

    sockets: Sequence[int]
    "File descriptors, one for each worker."
    rings: Sequence[int]
    "See `Port.rings`."
    mtu: int
    "Of the link when the rings were made."


class Port:
    """Frames in from and out to one interface. Errors on the way are counted, never raised."""

    def __init__(
        self,
        index: int,
        name: str,
        mtu: int,
        programs: Sequence[Program],
        workers: int = 1,
        inherited: "Inherited | None" = None,
    ) -> None:
        """Open on interface `index`, with the first of the filters that the kernel takes.

        A socket a worker: the kernel spreads the frames over them, those of one direction of a
        flow always to the same one. Those that another process has left are gone on with, and
        what waits in them. `KernelError` where the kernel refuses.
        """
        self.index: Final = index
        self.name = name
        "It may be renamed."
        self.mtu: Final = inherited.mtu if inherited else mtu
        self.errors: Counter[str] = Counter()
        "Failed receives and sends by what the kernel said, such as ENOBUFS."
        self._buffer = bytearray(_LONGEST)
        self.sockets: Final[list[socket.socket]] = []
        "One for each worker."
        self.rings = [0] * workers
        "Where each worker that is not at work has left its ring; 0: it has none."
        try:
            if inherited:
                self.sockets.extend(socket.socket(fileno=fd) for fd in inherited.sockets)
                self.rings = list(inherited.rings)
            else:
                self._open_all(workers)
            self.attach(programs)
        except OSError as error:
            self.close()
            raise refused(f"cannot open a raw socket on {name}", error, "CAP_NET_RAW") from error
        self._socket: Final = self.sockets[0]

    def _open_all(self, workers: int) -> None:
        group = 0
        for _ in range(workers):
            self.sockets.append(_open(self.index))
            if workers > 1:
                group = _join(self.sockets[-1], group)

    def attach(self, programs: Sequence[Program]) -> None:
        """From the next frame on, this filter: the first one that the kernel takes."""
        for raw in self.sockets:
            _attach_first(raw, programs)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        for raw in self.sockets:
            raw.close()

    def forget_rings(self) -> None:
        """Have the next workers make new ones: nobody knows where the last ones have left them."""
        for raw in self.sockets:
            raw.setsockopt(_SOL_PACKET, _PACKET_RX_RING, bytes(_REQUEST_LENGTH))
        self.rings = [0] * len(self.sockets)

    def is_bound(self) -> bool:
        """False from the moment that the interface is deleted, also if it is made anew."""
        return bool(self._socket.getsockname()[0])

    def receive(self, most: int) -> Iterator[Frame]:
        """Up to `most` frames that have arrived; never waits."""
        receive, buffer, view = self._socket.recv_into, self._buffer, memoryview(self._buffer)
        for _ in range(most):
            try:
                size = receive(buffer)
            except BlockingIOError:
                return
            except OSError as error:
                # EINVAL: a frame whose offloads the header cannot express; it is gone, others
                # follow. ENETDOWN: the interface went down; it may come back.
                self.errors[f"receive {_name(error)}"] += 1
                continue
            if size < VNET_LENGTH:
                self.errors["receive without header"] += 1
                continue
            offload = unpack_offload(bytes(view[:VNET_LENGTH]))
            yield Frame(self.index, bytearray(view[VNET_LENGTH:size]), offload)

    def send(self, frame: Frame) -> bool:
        """Put a frame on the wire; False where the kernel would not take it."""
        try:
            self._socket.sendmsg((frame.offload.pack(), frame.data))
        except OSError as error:
            self.errors[f"send {_name(error)}"] += 1
            return False
        return True

    def dropped(self) -> list[int]:
        """Frames that each socket lost since the last call: they were not fetched in time."""
        counts = [raw.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8) for raw in self.sockets]
        return [int.from_bytes(count[4:8], "little") for count in counts]


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def _open(index: int) -> socket.socket:
    """A bound socket that lets nothing through until all who share the frames are there."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        _attach(raw, NOTHING)
        raw.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        raw.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        raw.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
        raw.bind((socket.if_indextoname(index), _ETH_P_ALL))
    except BaseException:
        raw.close()
        raise
    return raw


def _join(raw: socket.socket, group: int) -> int:
    """Share the frames with the others of a group, or found one; returns the group's number."""
    unique = 0 if group else _FANOUT_UNIQUE_ID
    for flags in (_FANOUT_HASH | _FANOUT_IGNORE_OUTGOING, _FANOUT_HASH):
        try:
            raw.setsockopt(_SOL_PACKET, _PACKET_FANOUT, group | (flags | unique) << 16)
            break
        except OSError as error:
            # The flag is younger than some kernels; the filter keeps these frames away, too.
            if error.errno != errno.EINVAL or flags == _FANOUT_HASH:
                raise
    return group or raw.getsockopt(_SOL_PACKET, _PACKET_FANOUT) & 0xFFFF


def _attach_first(raw: socket.socket, programs: Sequence[Program]) -> None:
    """A long filter may be more than net.core.optmem_max allows; the next one is shorter."""
    for program in programs[:-1]:
        try:
            return _attach(raw, program)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
    return _attach(raw, programs[-1])


def _attach(raw: socket.socket, program: Program) -> None:
    code = ctypes.create_string_buffer(b"".join(instruction.pack() for instruction in program))
    header = _FilterProgram(len(program), ctypes.addressof(code))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(header))
