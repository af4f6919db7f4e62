"""Addresses and ports as listings show them: numbers with -n, else names."""

import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from pktlb.compat.ipvsadm.address import describe
from pktlb.model import format_address

_PATIENCE_S = 2.0
"The time that a listing waits for the names of hosts; then the rest are numbers."


class Names:
    """Looks up each name once. Hosts whose names are not found in time are shown by numbers."""

    def __init__(self, numeric: bool, now: Callable[[], float] = monotonic) -> None:
        self._numeric, self._now = numeric, now
        self._hosts: dict[bytes, str] = {}
        self._spent_s = 0.0

    def __call__(self, address: bytes, port: int, proto: str) -> str:
        if self._numeric:
            return describe(address, port)
        host = self._host(address)
        bracketed = f"[{host}]" if ":" in host else host
        return f"{bracketed}:{self._port(port, proto)}"

    def _host(self, address: bytes) -> str:
        if address not in self._hosts:
            text = format_address(address)
            if self._spent_s < _PATIENCE_S:
                begun = self._now()
                with suppress(OSError):
                    text = socket.gethostbyaddr(text)[0]
                self._spent_s += self._now() - begun
            self._hosts[address] = text
        return self._hosts[address]

    def _port(self, port: int, proto: str) -> str:
        try:
            return socket.getservbyport(port, proto.lower())
        except OSError:
            return str(port)
