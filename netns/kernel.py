"""The kernel's side of a laboratory: one netlink socket in each namespace. Only here is pyroute2.

pyroute2 has no type hints; what comes out of it is Any and goes no further than this module and
the steps that call it.
"""

from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from netns import namespace
from netns.errors import UsageError

__all__ = ["Kernel", "NetlinkError"]


class Kernel:
    """Netlink sockets by namespace, opened when first needed."""

    def __init__(self) -> None:
        self._sockets: dict[str, Any] = {}

    def add_namespace(self, name: str) -> None:
        netns.create(name)

    def netlink(self, name: str) -> Any:
        """The rtnetlink socket (an IPRoute) inside a namespace."""
        if name not in self._sockets:
            with namespace.entered(name):
                self._sockets[name] = IPRoute()
        return self._sockets[name]

    def index(self, name: str, ifname: str) -> int:
        """The number of an interface, as netlink wants it."""
        found = self.netlink(name).link_lookup(ifname=ifname)
        if not found:
            raise UsageError(f"{name} has no interface {ifname!r}")
        return int(found[0])

    def is_up(self, name: str, ifname: str) -> bool:
        """Whether an interface passes frames: a cable does so a moment after both ends are up."""
        (link,) = self.netlink(name).get_links(self.index(name, ifname))
        return bool(link.get_attr("IFLA_OPERSTATE") == "UP")

    def counters(self, name: str, ifname: str) -> dict[str, int]:
        """The counters of an interface: rx_packets, tx_bytes and so on."""
        (link,) = self.netlink(name).get_links(self.index(name, ifname))
        return {key: int(value) for key, value in link.get_attr("IFLA_STATS64").items()}

    def links(self, name: str) -> dict[str, str]:
        """The interfaces of a namespace and their MAC addresses ('' where there is none)."""
        return {
            link.get_attr("IFLA_IFNAME"): link.get_attr("IFLA_ADDRESS") or ""
            for link in self.netlink(name).get_links()
        }

    def write_sysctl(self, name: str, key: str, value: str) -> None:
        """Set net.… in a namespace: /proc/sys/net shows the one of the thread that opens it."""
        with namespace.entered(name):
            Path("/proc/sys", *key.split(".")).write_text(value, encoding="ascii")

    def close(self) -> None:
        """Close every socket: an open one would keep its namespace alive."""
        for socket in self._sockets.values():
            socket.close()
        self._sockets.clear()
