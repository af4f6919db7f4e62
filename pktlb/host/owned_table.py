"""An nftables table that this process owns (`flags owner`, Linux 5.12 and up).

It lives exactly as long as the netlink socket that made it: it goes when the process ends, however
that ends, and another process can neither change nor flush it. So the socket must be our own, and
the library behind nft(8) is called in this process; see libnftables(3).
"""

import ctypes
from typing import Final, Self

from pktlb.errors import KernelError

_LIBRARY: Final = "libnftables.so.1"


class OwnedTable:
    """A table in place until `close`."""

    def __init__(self, name: str, body: str) -> None:
        """Put a table `name` ("inet example") with the chains of `body` in the place of what has
        that name; `KernelError` where that is refused."""
        self._library: Final = _load()
        self._context: Final = self._library.nft_ctx_new(0)
        if not self._context:
            raise KernelError(f"{_LIBRARY}: no memory, or no netlink socket")
        script = (
            f"add table {name}\ndelete table {name}\ntable {name} {{\nflags owner\n{body}\n}}\n"
        )
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)
        if self._library.nft_run_cmd_from_buffer(self._context, script.encode()):
            complaint = self._library.nft_ctx_get_error_buffer(self._context).decode()
            self.close()
            raise _refused(name, complaint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket, and with it the table."""
        self._library.nft_ctx_free(self._context)


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise KernelError(
            f"the library {_LIBRARY} is missing (Debian package libnftables1)"
        ) from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    for name in ("buffer_output", "buffer_error", "get_error_buffer", "free"):
        getattr(library, f"nft_ctx_{name}").argtypes = (ctypes.c_void_p,)
    library.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    return library


def _refused(name: str, complaint: str) -> KernelError:
    why = complaint.strip().splitlines() or ["no message"]
    needs = "CAP_NET_ADMIN, and that no other process owns it"
    denied = f" (needs {needs})" if "not permitted" in complaint else ""
    return KernelError(f"nftables refused the table {name}: {why[0]}{denied}")
