"""One interface through AF_PACKET sockets: whole frames with their offload headers.

The sockets are bound to all protocols: only then they see frames before the nftables ingress hook,
where the guard keeps frames from the kernel. See packet(7) and, for the header with checksum and
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
"Bytes of `struct tpacket_req`; all zeros: no ring."
_BUFFER: Final = 8 << 20
"Bytes that the kernel queues in each direction; a frame counts with the memory it occupies."
_LONGEST: Final = VNET_LENGTH + 14 + 4 + 40 + 65535
_UNDESCRIBED: Final = (
    "receive EINVAL: frames were lost whose offloads cannot be passed on (UFO of a virtual "
    "machine?): on the machine that sends them, run ethtool -K DEV tx-udp-fragmentation off"
)


class _FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class Inherited(NamedTuple):
    """The sockets and rings that another process has left of a port."""

    sockets: Sequence[int]
    "File descriptors, one for each worker."
    rings: Sequence[int]
    "See `Port.rings`."
    mtu: int
    "MTU of the link when the rings were made."


class Port:
    """Receives frames from one interface and sends frames to it. Errors of both are counted, never
    raised."""

    def __init__(
        self,
        index: int,
        name: str,
        mtu: int,
        programs: Sequence[Program],
        workers: int = 1,
        inherited: "Inherited | None" = None,
    ) -> None:
        """Open the interface `index`, with the first of the filters (`programs`) that the kernel
        takes.

        There is one socket for each worker. The kernel spreads the frames over them; frames of one
        direction of a flow always go to the same socket. Sockets `inherited` from another process
        are used instead of new ones, with the frames that wait in them. Raises `KernelError` where
        the kernel refuses.
        """
        self.index: Final = index
        self.name = name
        "It may be renamed."
        self.mtu: Final = inherited.mtu if inherited else mtu
        self.errors: Counter[str] = Counter()
        "Failed receives and sends by a sentence or by what the kernel said, such as ENOBUFS."
        self._buffer = bytearray(_LONGEST)
        self.sockets: Final[list[socket.socket]] = []
        "One for each worker."
        self.rings = [0] * workers
        "The address of the ring that each worker left when it ended; 0: there is none."
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
        """Use the first of these filters that the kernel takes, from the next frame on."""
        for raw in self.sockets:
            _attach_first(raw, programs)

    def fileno(self) -> int:
        """The file descriptor of the first worker's socket."""
        return self._socket.fileno()

    def close(self) -> None:
        for raw in self.sockets:
            raw.close()

    def forget_rings(self) -> None:
        """Free the rings of workers that left no address of them; the next workers make new
        ones."""
        for raw in self.sockets:
            raw.setsockopt(_SOL_PACKET, _PACKET_RX_RING, bytes(_REQUEST_LENGTH))
        self.rings = [0] * len(self.sockets)

    def is_bound(self) -> bool:
        """Whether the interface is still the one that was opened: False once that was deleted, even
        if another has its name."""
        return bool(self._socket.getsockname()[0])

    def receive(self, most: int) -> Iterator[Frame]:
        """The next frames that have arrived, `most` at most; never waits."""
        receive, buffer, view = self._socket.recv_into, self._buffer, memoryview(self._buffer)
        for _ in range(most):
            try:
                size = receive(buffer)
            except BlockingIOError:
                return
            except OSError as error:
                # ENETDOWN: the interface went down; it may come back.
                self.errors[self.sentence("receive", error.errno or 0)] += 1
                continue
            if size < VNET_LENGTH:
                self.errors["receive without header"] += 1
                continue
            offload = unpack_offload(bytes(view[:VNET_LENGTH]))
            yield Frame(self.index, bytearray(view[VNET_LENGTH:size]), offload)

    def send(self, frame: Frame) -> bool:
        """Put a frame on the wire; False where the kernel did not take it."""
        try:
            self._socket.sendmsg((frame.offload.pack(), frame.data))
        except OSError as error:
            self.errors[self.sentence("send", error.errno or 0)] += 1
            return False
        return True

    def sentence(self, what: str, number: int) -> str:
        """How `errors` calls a failed "receive" or "send" with this number of an error."""
        if (what, number) == ("receive", errno.EINVAL):
            # The kernel loses a frame whose offloads the header cannot express; others follow.
            return _UNDESCRIBED
        return f"{what} {errno.errorcode.get(number, str(number))}"

    def dropped(self) -> list[int]:
        """How many frames each socket lost since the last call, because they were not fetched in
        time."""
        counts = [raw.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8) for raw in self.sockets]
        return [int.from_bytes(count[4:8], "little") for count in counts]


def _open(index: int) -> socket.socket:
    """A bound socket whose filter accepts nothing yet: all sockets that share the frames must be
    open before one of them gets any."""
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
    """Let a socket share frames with the others of a group (0: a new one); returns the group's
    number."""
    unique = 0 if group else _FANOUT_UNIQUE_ID
    for flags in (_FANOUT_HASH | _FANOUT_IGNORE_OUTGOING, _FANOUT_HASH):
        try:
            raw.setsockopt(_SOL_PACKET, _PACKET_FANOUT, group | (flags | unique) << 16)
            break
        except OSError as error:
            # Some kernels do not know the flag; the filter rejects outgoing frames as well.
            if error.errno != errno.EINVAL or flags == _FANOUT_HASH:
                raise
    return group or raw.getsockopt(_SOL_PACKET, _PACKET_FANOUT) & 0xFFFF


def _attach_first(raw: socket.socket, programs: Sequence[Program]) -> None:
    """Attach the first program that the kernel takes: it refuses one longer than
    net.core.optmem_max allows, and the next one is shorter."""
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
