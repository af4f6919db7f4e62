"""An nftables table that this process owns (`flags owner`, Linux 5.12 and up).

It lives exactly as long as the netlink socket that made it: it goes when the process ends, however
that ends, and another process can neither change nor flush it.
"""

from typing import Final, Self

from pktlb.errors import KernelError
from pktlb.host.libnftables import Session


class OwnedTable:
    """A table in place until `close`."""

    def __init__(self, name: str, body: str) -> None:
        """Put a table `name` ("inet example") with the chains of `body` in the place of what has
        that name; `KernelError` where that is refused."""
        self._session: Final = Session()
        script = (
            f"add table {name}\ndelete table {name}\ntable {name} {{\nflags owner\n{body}\n}}\n"
        )
        try:
            self._session.run(script)
        except KernelError as error:
            self.close()
            raise KernelError(f"table {name}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Have the kernel take the table away."""
        self._session.close()
