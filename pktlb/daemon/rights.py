"""What a process of pktlb goes on needing of the rights that it was started with."""

import os
import sys
from typing import Final

import pktlb
from pktlb.config.config import Config
from pktlb.control.peers import Rights
from pktlb.control.place import socket_path
from pktlb.host.privilege import Needs

_NETWORK: Final = ("CAP_NET_ADMIN", "CAP_NET_RAW")
"Addresses, the guard, TUN devices and large buffers; raw sockets."

DECAP: Final = Needs(_NETWORK)


def needs_of(config: Config, source: str | None, has_control: bool) -> Needs:
    """Of `pktlb run` with this configuration, read from the file `source`.

    A reload reads the file again, and a restart starts the program again. The directory of the
    control socket has to be written to at the end as well. A control socket that was handed over
    (`has_control`) has its group already.
    """
    control = os.path.dirname(os.path.abspath(socket_path(config.name, config.control)))
    files = [
        (sys.executable, os.X_OK),
        (sys.argv[0], os.R_OK),
        (pktlb.__file__, os.R_OK),
        (control, os.W_OK | os.X_OK),
    ]
    if source:
        files.append((source, os.R_OK))
    group = None if has_control else Rights(config.control_group).gid
    return Needs(_NETWORK, tuple(files), group, realtime=True)
