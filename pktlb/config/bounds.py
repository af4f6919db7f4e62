"""How much of everything there may be: numbers alone, for commands that must start quickly."""

from typing import Final

MAX_SERVICES: Final = 65_536
"Services of a balancer; each VIP is one."
MAX_VIPS: Final = 4096
"VIPs in one table of a file."
MAX_BACKENDS: Final = 4096
"Backends of one service."
MAX_MEMBERS: Final = 1 << 20
"Backends of all services together; a backend of several VIPs counts once for each."
MAX_FLOWS: Final = 1 << 24
"Flows of a balancer, and so connections of a backend."
MAX_SNAT_ADDRESSES: Final = 256
MAX_SECONDS: Final = 1_000_000
MAX_NAME: Final = 64
"Letters of a name."
MAX_INTERFACE_NAME: Final = 15
"Bytes of an interface's name: IFNAMSIZ, with its zero."
MAX_SOCKET_PATH: Final = 107
"Bytes of a Unix socket's path: `sun_path` holds 108, with its zero (unix(7))."
MAX_TEXT: Final = 256
"Characters of a text that is parsed at all."
