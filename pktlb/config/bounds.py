"""Bounds as plain numbers, apart because each command of the command line needs one of them, and
little else of the configuration."""

from typing import Final

MAX_SOCKET_PATH: Final = 107
"Bytes of the path of a Unix socket; `sun_path` holds 108 with the zero at the end (unix(7))."
