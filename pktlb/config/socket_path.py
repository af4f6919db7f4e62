"""How long the path of a Unix socket may be; apart, because each command of the command line needs
this number, and little else of the configuration."""

from typing import Final

MAX_SOCKET_PATH: Final = 107
"Bytes; `sun_path` holds 108 with the zero at the end (unix(7))."
