"""Where the control socket of a balancer is. Each command needs this, so it imports little."""

import os
from typing import Final

from pktlb.config.bounds import MAX_NAME, MAX_SOCKET_PATH
from pktlb.errors import ConfigError

DIRECTORY: Final = "/run/pktlb"
ENVIRONMENT: Final = "PKTLB_SOCKET"
DEFAULT_NAME: Final = "default"


def socket_path(name: str = DEFAULT_NAME, given: str | None = None) -> str:
    """The path of the control socket: `given`, or else that in the environment, or else the one of
    the balancer's name. Raises `ConfigError` for a name or a path that cannot be."""
    path = given or os.environ.get(ENVIRONMENT)
    if not path:
        allowed = name.isascii() and name.replace("-", "").replace("_", "").replace(".", "")
        if not allowed or not allowed.isalnum() or name[0] == "." or len(name) > MAX_NAME:
            raise ConfigError(
                f"--name {name}: expected 1..{MAX_NAME} letters, digits, and - _ . between them"
            )
        path = f"{DIRECTORY}/{name}.sock"
    if "\0" in path or len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise ConfigError(
            f"control socket {path}: expected a path of {MAX_SOCKET_PATH} bytes at most"
        )
    return path
