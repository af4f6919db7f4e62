"""The kernel's network configuration over rtnetlink(7): the only importer of pyroute2.

`pktlb.host.signals` tells that something has changed; what it is now is asked for here.
"""

import errno
import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from pktlb.errors import KernelError, refused
from pktlb.host import sysctl
from pktlb.host.machine import Address, Link, Machine, Neighbour, Route

_ARPHRD_ETHER: Final = 1
_IFF_UP: Final = 1
_VLAN_FLAG_REORDER_HDR: Final = 1
_RTN_UNICAST: Final = 1
_NUD_FAILED: Final = 0x20
_NUD_INCOMPLETE: Final = 0x01
_NUD_PROBE: Final = 0x10
_NUD_FIXED: Final = 0x40 | 0x80  # NOARP, PERMANENT
_NTF_USE: Final = 0x01
_IFA_F_NODAD: Final = 0x02
_FOREVER: Final = 0xFFFFFFFF
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


class Kernel:
    """Questions and requests; each raises `KernelError` where the kernel refuses it."""

    def __init__(self) -> None:
        self._netlink = AsyncIPRoute()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._netlink.close()

    async def read(self, destinations: Iterable[bytes]) -> Machine:
        """The machine as it is now, with the routes to `destinations`."""
        routes = {address: await self.route_to(address) for address in destinations}
        try:
            links = await self._links()
            # A link may go between two answers: its addresses and routes are left out.
            return Machine(
                links=links,
                addresses=[a for a in await self._addresses() if a.link in links],
                routes={d: route for d, route in routes.items() if route and route.link in links},
                neighbours=await self.neighbours(),
                own_ports=_own_ports(),
            )
        except NetlinkError as error:
            raise _refused("to say what there is", error) from error

    async def route_to(self, address: bytes) -> Route | None:
        """The way to `address`; None where there is none."""
        try:
            answer = await self._netlink.route("get", dst=_text(address))
        except NetlinkError as error:
            if error.code in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES):
                return None
            raise _refused(f"the route to {_text(address)}", error) from error
        route = next(iter(answer))
        # A gateway of the other family (RFC 5549) is in an attribute of its own.
        gateway = route.get("gateway") or (route.get("via") or {}).get("addr")
        source = route.get("prefsrc")
        metrics = route.get("metrics")
        return Route(
            link=route.get("oif"),
            gateway=_packed(gateway) if gateway else None,
            source=_packed(source) if source else b"",
            local=route["type"] != _RTN_UNICAST,
            mtu=metrics.get("mtu") if metrics else None,
        )

    async def resolve(self, link: int, address: bytes, known: bool) -> None:
        """Have the kernel ask for the MAC of `address`.

        An entry that is `known` is put into the state PROBE, so that it is asked for now: the
        kernel by itself would trust it for up to 45 s.
        """
        how = {"state": _NUD_PROBE} if known else {"state": 0, "flags": _NTF_USE}
        try:
            await self._netlink.neigh("replace", dst=_text(address), ifindex=link, **how)
        except NetlinkError as error:
            # EINVAL: the entry has just gone, which netlink will tell.
            if error.code not in (errno.ENODEV, errno.ENETDOWN, errno.EINVAL, errno.ENOBUFS):
                raise _refused(f"resolving {_text(address)}", error) from error

    async def add_address(self, link: int, address: bytes) -> None:
        """Give a link an address, its prefix the whole length. No effect if the link has it."""
        await self._change_address("add", link, address, errno.EEXIST)

    async def remove_address(self, link: int, address: bytes) -> None:
        """Take such an address from a link. No effect if the link does not have it."""
        await self._change_address("del", link, address, errno.EADDRNOTAVAIL, errno.ENODEV)

    async def set_up(self, link: int) -> None:
        try:
            await self._netlink.link("set", index=link, state="up")
        except NetlinkError as error:
            raise _refused("bringing an interface up", error) from error

    async def _change_address(self, verb: str, link: int, address: bytes, *fine: int) -> None:
        more = {}
        if len(address) == 16 and verb == "add":
            # Usable at once, without duplicate address detection. Deprecated, so that the kernel
            # uses it for no connection of its own (RFC 6724, section 5, rule 3).
            more = {"flags": _IFA_F_NODAD, "preferred_lft": 0, "valid_lft": _FOREVER}
        try:
            await self._netlink.addr(
                verb, index=link, address=_text(address), prefixlen=8 * len(address), **more
            )
        except NetlinkError as error:
            if error.code not in fine:
                raise _refused(f"{verb} address {_text(address)}", error) from error

    async def _links(self) -> Mapping[int, Link]:
        found = {}
        async for link in await self._netlink.link("dump"):
            ethernet = link["ifi_type"] == _ARPHRD_ETHER
            found[link["index"]] = Link(
                index=link["index"],
                name=link.get("ifname"),
                mac=_mac(link.get("address")) if ethernet else b"",
                mtu=link.get("mtu"),
                up=bool(link["flags"] & _IFF_UP),
                tagged=keeps_tags(link),
            )
        return found

    async def _addresses(self) -> list[Address]:
        return [
            Address(_packed(a.get("local") or a.get("address")), a["prefixlen"], a["index"])
            for family in _FAMILIES
            async for a in await self._netlink.addr("dump", family=family)
        ]

    async def neighbours(self) -> Mapping[tuple[int, bytes], Neighbour]:
        return {
            (n["ifindex"], _packed(n.get("dst"))): _neighbour(n)
            for family in _FAMILIES
            async for n in await self._netlink.neigh("dump", family=family)
        }


def keeps_tags(link: Any) -> bool:
    """Whether a link, as netlink tells of it, is a VLAN interface that leaves the tag in frames."""
    flags = link.get(("linkinfo", "data", "vlan_flags"))
    return bool(flags) and not flags["flags"] & _VLAN_FLAG_REORDER_HDR


def _own_ports() -> range:
    low, _, high = sysctl.read("net/ipv4/ip_local_port_range").partition("\t")
    return range(int(low), int(high) + 1) if low and high else range(0)


def _neighbour(message: Any) -> Neighbour:
    known = not message["state"] & (_NUD_FAILED | _NUD_INCOMPLETE)
    return Neighbour(
        _mac(message.get("lladdr")) if known else b"",
        bool(message["state"] & _NUD_FAILED),
        bool(message["state"] & _NUD_FIXED),
    )


def _mac(text: str | None) -> bytes:
    return bytes.fromhex(text.replace(":", "")) if text else b""


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def _refused(what: str, error: NetlinkError) -> KernelError:
    return refused(f"netlink refused {what}", OSError(*error.args), "CAP_NET_ADMIN")
