"""How large each nftables table of the family netdev is, asked of the kernel itself.

That takes a fraction of a millisecond, a listing of nft up to seconds. It needs no child process.
See linux/netfilter/nfnetlink.h and nf_tables.h for the messages.
"""

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Final

from pktlb.errors import KernelError, refused

_FAMILY: Final = "netdev"
_NFPROTO_NETDEV: Final = 5
_NETLINK_NETFILTER: Final = 12
_NFT: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_NEWCHAIN: Final = _NFT | 3
_GETCHAIN: Final = _NFT | 4
_NEWRULE: Final = _NFT | 6
_GETRULE: Final = _NFT | 7
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_REQUEST_DUMP: Final = 0x1 | 0x300
_TABLE: Final = 1  # NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
_HEADER: Final = struct.Struct("=IHHII")
_GENERAL: Final = struct.Struct("!BBH")  # struct nfgenmsg
_ATTRIBUTE: Final = struct.Struct("=HH")
_TYPE_MASK: Final = 0x3FFF
_TIMEOUT_S: Final = 2.0
_INTERRUPTED: Final = 0x10  # NLM_F_DUMP_INTR: the ruleset has changed between two messages
_TRIES: Final = 10


def sizes(*tables: str) -> dict[str, tuple[int, int]]:
    """How many chains and rules each of some tables has, such as `netdev pktlb`; tables without
    any are left out. Raises `KernelError`."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
            kernel.settimeout(_TIMEOUT_S)
            chains = _counted(kernel, _GETCHAIN, _NEWCHAIN)
            rules = {
                table: _counted(kernel, _GETRULE, _NEWRULE, table)[table]
                for table in chains.keys() & set(tables)
            }
    except OSError as error:
        raise refused("cannot look at the nftables ruleset", error, "CAP_NET_ADMIN") from error
    return {table: (chains[table], rules[table]) for table in tables if table in rules}


def _counted(kernel: socket.socket, asked: int, told: int, table: str = "") -> Counter[str]:
    """How many chains, or rules, by their table; of one table if that is given."""
    for _ in range(_TRIES):
        _ask(kernel, asked, table)
        counted: Counter[str] = Counter()
        is_consistent = True
        for kind, flags, payload in _answers(kernel):
            is_consistent = is_consistent and not flags & _INTERRUPTED
            if kind == told:
                counted[f"{_FAMILY} {_name_in(payload)}"] += 1
        if is_consistent:
            break
    return counted


def _ask(kernel: socket.socket, what: int, table: str) -> None:
    body = _GENERAL.pack(_NFPROTO_NETDEV, 0, 0)
    if table:
        name = table.removeprefix(f"{_FAMILY} ").encode() + b"\0"
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(name), _TABLE) + name
        body += bytes(-len(body) % 4)
    kernel.send(_HEADER.pack(_HEADER.size + len(body), what, _REQUEST_DUMP, 1, 0) + body)


def _answers(kernel: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and payload of each message, up to the last one."""
    kind = 0
    while kind != _NLMSG_DONE:
        for kind, flags, payload in _messages(kernel.recv(1 << 17)):
            yield kind, flags, payload


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The messages in `data`. Raises `KernelError` where one of them is an error."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, *_ = _HEADER.unpack_from(data, at)
        payload = data[at + _HEADER.size : at + length]
        if kind == _NLMSG_ERROR:
            (status,) = struct.unpack_from("=i", payload)
            raise KernelError(f"cannot look at the nftables ruleset: error {-status}")
        yield kind, flags, payload
        at += -(-length // 4) * 4


def _name_in(payload: bytes) -> str:
    """The attribute that names the table."""
    at = _GENERAL.size
    while at + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, at)
        if kind & _TYPE_MASK == _TABLE:
            return (
                payload[at + _ATTRIBUTE.size : at + length].rstrip(b"\0").decode(errors="replace")
            )
        at += -(-length // 4) * 4
    return ""
