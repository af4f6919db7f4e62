"""A raw IP socket: payloads of one protocol for this machine, reassembled by the kernel.

As long as it is open, the kernel does not answer that protocol with "protocol unreachable", unless
a module of its own takes it (see `pktlb.host.tunnels`). See raw(7) and ipv6(7). Over IPv4 the
kernel hands over the header as well; it is taken off here.
"""

import socket
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from pktlb.errors import refused

_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 8 << 20
_LONGEST: Final = 65535
"Bytes of the longest IPv4 packet, and of the longest payload of IPv6."
_ANCILLARY: Final = socket.CMSG_SPACE(4)


class Payload(NamedTuple):
    """What was behind an IP header."""

    data: bytes
    traffic: int
    "ToS or traffic class of that header."


class RawSocket:
    """Receives payloads. Errors of receiving are counted, never raised."""

    def __init__(self, size: int, proto: int) -> None:
        """Open for packets of protocol `proto` to addresses of `size` bytes, 4 or 16. Raises
        `KernelError` where the kernel refuses."""
        self.proto: Final = proto
        self.errors: Counter[str] = Counter()
        self._with_header = size == 4
        family = socket.AF_INET if size == 4 else socket.AF_INET6
        try:
            self._socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, proto)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            if not self._with_header:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        except OSError as error:
            what = f"cannot open a raw socket for IP protocol {proto}"
            raise refused(what, error, "CAP_NET_RAW and CAP_NET_ADMIN") from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self, most: int) -> Iterator[Payload]:
        """What is behind the IP header of up to `most` packets that have arrived; never waits."""
        for _ in range(most):
            try:
                data, ancillary, *_ = self._socket.recvmsg(_LONGEST, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as error:
                self.errors[f"receive {error.strerror}"] += 1
                continue
            if self._with_header:
                yield Payload(data[(data[0] & 0x0F) * 4 :], data[1])
            else:
                yield Payload(data, _traffic_class(ancillary))


def _traffic_class(ancillary: list[tuple[int, int, bytes]]) -> int:
    """What the kernel tells of an IPv6 header; 0 where it tells nothing."""
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_TCLASS):
            return int.from_bytes(value, sys.byteorder)
    return 0
