"""libnftables, which the command nft is made of, in this process: see libnftables(3).

A session has one netlink socket for its life, so it can own tables. It forks nothing. The library
ends the process where it gets no memory: so it is given no ruleset to print, which may be large.
"""

import contextlib
import ctypes
import os
import socket
from typing import Any, Final

from pktlb.errors import KernelError, refused

LIBRARY: Final = "libnftables.so.1"
_NETLINK_NETFILTER: Final = 12
_POINTER: Final = ctypes.c_void_p
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "nft_ctx_new": (_POINTER, (ctypes.c_uint32,)),
    "nft_ctx_free": (None, (_POINTER,)),
    "nft_ctx_buffer_output": (ctypes.c_int, (_POINTER,)),
    "nft_ctx_buffer_error": (ctypes.c_int, (_POINTER,)),
    "nft_ctx_get_output_buffer": (ctypes.c_char_p, (_POINTER,)),
    "nft_ctx_get_error_buffer": (ctypes.c_char_p, (_POINTER,)),
    "nft_run_cmd_from_buffer": (ctypes.c_int, (_POINTER, ctypes.c_char_p)),
}
"What each function returns and takes."


class MissingError(KernelError):
    """There is no such library."""


class RejectedError(KernelError):
    """nft, or the kernel, does not do what it was told; nothing has changed."""


def rejected(complaint: str) -> RejectedError:
    """The error for a complaint of nft, of several lines."""
    first, *_ = complaint.strip().splitlines() or ["no message"]
    denied = " (needs CAP_NET_ADMIN)" if "not permitted" in complaint else ""
    return RejectedError(f"nft refused: {first}{denied}")


class Session:
    """A context of the library, for one thread at a time.

    Raises `MissingError`, and `KernelError` where the machine has no socket for it.
    """

    def __init__(self) -> None:
        self._library: Final = _load()
        try:
            # The library would end the process where there is no socket.
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER).close()
        except OSError as error:
            raise refused("no netlink socket for nftables", error, "CAP_NET_ADMIN") from error
        self._context: int | None = self._library.nft_ctx_new(0)
        _close_at_exec()
        if not self._context:
            raise KernelError("libnftables makes no context")
        if self._library.nft_ctx_buffer_output(self._context) or (
            self._library.nft_ctx_buffer_error(self._context)
        ):
            self.close()
            raise KernelError("libnftables makes no buffer")

    def run(self, text: str) -> None:
        """Run commands of nft in one transaction. Raises `RejectedError`."""
        status = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        self._library.nft_ctx_get_output_buffer(self._context)  # which empties it
        complaint = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if status:
            raise rejected(complaint.decode(errors="replace"))

    def close(self) -> None:
        """Close the socket; the kernel then takes away the tables that it owns."""
        context, self._context = self._context, None
        if context:
            self._library.nft_ctx_free(context)


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
        for name, (returned, taken) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = returned, taken
    except (OSError, AttributeError) as error:
        raise MissingError(f"{LIBRARY} cannot be used: {error}") from error
    return library


def _close_at_exec() -> None:
    """The library leaves its socket open for the next program: the tables would outlive us there.

    Sockets of this kind are never inherited, so it is done to each of them.
    """
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if _protocol(descriptor) == (socket.AF_NETLINK, _NETLINK_NETFILTER):
                os.set_inheritable(descriptor, False)


def _protocol(descriptor: int) -> tuple[int, int]:
    """Family and protocol of a socket; `OSError` where the descriptor is none."""
    found = socket.socket(fileno=descriptor)
    try:
        return found.family, found.proto
    finally:
        found.detach()
