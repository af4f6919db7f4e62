"""A link through AF_PACKET sockets: ARP and neighbour discovery about some addresses.

The sockets are bound to the two protocols, not to all: so no frame of a flow passes a program of
theirs. See packet(7). A flood is cut off in three places: the program keeps all else away, the
queue is short and drops what does not fit, and after so many frames there is a rest.
"""

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

from pktlb.errors import refused
from pktlb.host import arp, nd, sieve
from pktlb.host.claim import MAC, Claim

_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_IGNORE_OUTGOING: Final = 23
_SO_ATTACH_FILTER: Final = 26
_MEMBERSHIP: Final = struct.Struct("=iHH8s")
"`struct packet_mreq`."
_MULTICAST: Final = 0
_QUEUE: Final = 1 << 17
"Bytes; a small frame counts with what it occupies, some 700."
_BURST: Final = 64
_REST_S: Final = 0.05
"Pause after a burst: 1,300 frames a second are read at most."

_PROTOCOLS: Final = {
    4: (arp.ETHER_TYPE, arp.claim, sieve.arp_about),
    16: (nd.ETHER_TYPE, nd.claim, sieve.nd_about),
}
"By the length of an address: what is bound to, what reads a frame, what makes the program."


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class OnLink:
    """Sends frames on a link, and hears what is claimed there of some addresses."""

    def __init__(self, link: int, heard: Callable[[Claim], None], trouble: Counter[str]) -> None:
        """`heard` is called from the event loop, for each claim about a heeded address; `trouble`
        counts frames that are not understood, and that the kernel does not send."""
        self._link: Final = link
        self._heard: Final = heard
        self._heeded: frozenset[bytes] = frozenset()
        self._sockets: Final[dict[int, socket.socket]] = {}
        "By the length of the addresses that it is for."
        self._rests: Final[dict[int, asyncio.TimerHandle]] = {}
        self._trouble: Final = trouble

    def heed(self, addresses: Collection[bytes]) -> None:
        """Hear of these addresses and no others from now on. `KernelError`: the kernel refuses."""
        self._heeded = frozenset(addresses)
        try:
            for size in {len(address) for address in self._heeded} | self._sockets.keys():
                program = _PROTOCOLS[size][2](self._heeded, self._link)
                if size in self._sockets:
                    _attach(self._sockets[size], program)
                else:
                    self._open(size, program)
        except OSError as error:
            raise refused("cannot listen for ARP and ND", error, "CAP_NET_RAW") from error

    def join(self, mac: bytes) -> None:
        """Have the device take frames to this group as well."""
        request = _MEMBERSHIP.pack(self._link, _MULTICAST, MAC, mac)
        for raw in self._sockets.values():
            with contextlib.suppress(OSError):
                raw.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, request)

    def send(self, size: int, frame: bytes) -> None:
        """Send a frame about an address of this length, one that is heeded; never waits."""
        try:
            self._sockets[size].send(frame)
        except OSError:  # as while the link is down
            self._trouble["ARP and ND: not sent"] += 1

    def is_bound(self) -> bool:
        """False from the moment that the link is deleted, also if it is made anew."""
        return all(raw.getsockname()[0] for raw in self._sockets.values())

    def close(self) -> None:
        """Hear nothing any more."""
        for rest in self._rests.values():
            rest.cancel()
        for raw in self._sockets.values():
            asyncio.get_running_loop().remove_reader(raw)
            raw.close()
        self._sockets.clear()

    def _open(self, size: int, program: bytes) -> None:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            _attach(raw, program)
            raw.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE)
            raw.bind((socket.if_indextoname(self._link), _PROTOCOLS[size][0]))
        except BaseException:
            raw.close()
            raise
        self._sockets[size] = raw
        self._listen(size)

    def _listen(self, size: int) -> None:
        self._rests.pop(size, None)
        asyncio.get_running_loop().add_reader(self._sockets[size], self._read, size)

    def _read(self, size: int) -> None:
        raw, claimed = self._sockets[size], _PROTOCOLS[size][1]
        for _ in range(_BURST):
            try:
                frame = raw.recv(sieve.LONGEST)
            except BlockingIOError:
                return
            except OSError:  # ENETDOWN: the link went down, and may come back
                continue
            claim = claimed(frame)
            if claim is None:
                self._trouble["ARP and ND: malformed"] += 1
            elif claim.address in self._heeded:
                self._heard(claim)
        loop = asyncio.get_running_loop()
        loop.remove_reader(raw)
        self._rests[size] = loop.call_later(_REST_S, self._listen, size)


def _attach(raw: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    header = _Program(len(program) // 8, ctypes.addressof(code))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(header))
