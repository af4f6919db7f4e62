"""A raw IP socket: payloads of one protocol for this machine, reassembled by the kernel.

As long as it is open, the kernel does not answer that protocol with "protocol unreachable". See
raw(7) and ipv6(7). Over IPv4 the kernel hands over the header as well; it is taken off here.
"""

import socket
from collections import Counter
from collections.abc import Iterator
from typing import Final

from pktlb.errors import refused

_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 8 << 20
_LONGEST: Final = 65535
"Bytes of the longest IPv4 packet, and of the longest payload of IPv6."


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
        except OSError as error:
            what = f"cannot open a raw socket for IP protocol {proto}"
            raise refused(what, error, "CAP_NET_RAW and CAP_NET_ADMIN") from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self, most: int) -> Iterator[bytes]:
        """The payloads of the next packets that have arrived, `most` at most; never waits."""
        for _ in range(most):
            try:
                data = self._socket.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError as error:
                self.errors[f"receive {error.strerror}"] += 1
                continue
            yield data[(data[0] & 0x0F) * 4 :] if self._with_header and data else data
