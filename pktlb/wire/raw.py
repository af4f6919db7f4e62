"""A raw IP socket: whole packets of one protocol for this machine, reassembled by the kernel.

As long as it is open, the kernel does not answer that protocol with "protocol unreachable".
See raw(7).
"""

import socket
from collections import Counter
from collections.abc import Iterator
from typing import Final

from pktlb.errors import refused

_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 8 << 20


class RawSocket:
    """Packets in; errors are counted, never raised."""

    def __init__(self, proto: int) -> None:
        self.errors: Counter[str] = Counter()
        try:
            self._socket = socket.socket(
                socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, proto
            )
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except OSError as error:
            what = f"cannot open a raw socket for IP protocol {proto}"
            raise refused(what, error, "CAP_NET_RAW and CAP_NET_ADMIN") from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self, most: int) -> Iterator[bytes]:
        """Up to `most` packets that have arrived, IP header included; never waits."""
        for _ in range(most):
            try:
                yield self._socket.recv(65535)
            except BlockingIOError:
                return
            except OSError as error:
                self.errors[f"receive {error.strerror}"] += 1
