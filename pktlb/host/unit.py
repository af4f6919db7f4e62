"""The systemd unit of one balancer: what it may do, and how it is started again.

Everything that the service needs is in the unit itself. It runs as a user that owns nothing. Of
root's rights it has two network capabilities, which are ambient so that its child `nft` has them.
docs/systemd.md gives the reason of each line.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from pktlb.errors import ConfigError

DEFAULT: Final = "default"
"Name of the balancer that the commands talk to unless told another."
CONFIGS: Final = PurePosixPath("/etc/pktlb")
CAPABILITIES: Final = ("CAP_NET_ADMIN", "CAP_NET_RAW")

_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62})?")
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_HOMES: Final = ("/home", "/root", "/run/user")

_TEMPLATE: Final = """\
# Written by `pktlb install-unit`: changes belong into `systemctl edit {service}`.
[Unit]
Description=pktlb packet load balancer ({name})
Documentation=man:pktlb(1)
Wants=network-online.target
After=network-online.target nftables.service
StartLimitIntervalSec=120
StartLimitBurst=30

[Service]
Type=notify
ExecStart={command} run --name {name} --config {config}
ExecReload={command} reload
ExecStop=+-/bin/sh -c 'systemctl list-jobs --plain --no-legend | \
    grep -q " %n *restart " && touch %t/pktlb/{name}.restarting'
Environment=PKTLB_SOCKET=%t/pktlb/{name}.sock PKTLB_RESTARTING=%t/pktlb/{name}.restarting
FileDescriptorStoreMax=512
Restart=always
RestartSec=2
WatchdogSec=15
TimeoutStartSec=60
TimeoutStopSec=30
KillMode=mixed
OOMScoreAdjust=-500
LimitNOFILE=65536
LimitRTPRIO=1

User={user}
DynamicUser=yes
UMask=0007
RuntimeDirectory=pktlb
RuntimeDirectoryPreserve=yes
AmbientCapabilities={capabilities}
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes

ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ReadWritePaths=/proc/sys/net
ProtectProc=invisible
RemoveIPC=yes
KeyringMode=private

LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_PACKET AF_INET AF_INET6
RestrictNamespaces=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=@chown sched_setscheduler

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """One balancer as systemd runs it."""

    command: str
    "Absolute path of `pktlb`."
    name: str = DEFAULT
    config: str = ""
    "The path of its configuration file; empty: the one that is named after the balancer."
    user: str = "pktlb"
    "The user that it runs as; systemd makes it where there is none of this name."

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            expected = "1..63 letters, digits, or any of - _ . within"
            raise ConfigError(f"--name {self.name}: expected {expected}")
        if not _USER.fullmatch(self.user) or self.user == "root":
            raise ConfigError(f"--user {self.user}: expected the name of a user, not of root")
        for flag, path in (("--command", self.command), ("--config", self.config_file)):
            if not PurePosixPath(path).is_absolute() or not path.isprintable():
                raise ConfigError(f"{flag} {path}: expected an absolute path")

    @property
    def service(self) -> str:
        """The name of the service to systemctl, without ".service"."""
        return "pktlb" if self.name == DEFAULT else f"pktlb-{self.name}"

    @property
    def config_file(self) -> str:
        stem = "pktlb" if self.name == DEFAULT else self.name
        return self.config or str(CONFIGS / f"{stem}.toml")

    def render(self) -> str:
        """The unit file."""
        return _TEMPLATE.format(
            service=self.service,
            name=self.name,
            command=_quoted(self.command),
            config=_quoted(self.config_file),
            user=self.user,
            capabilities=" ".join(CAPABILITIES),
        )


def hidden(path: str) -> bool:
    """Whether a path is in a home directory, which the service cannot see (ProtectHome)."""
    real = Path(path).resolve()
    return any(real.is_relative_to(home) for home in _HOMES)


def _quoted(path: str) -> str:
    """One word of a command line, quoted by systemd.syntax(7) and systemd.service(5)."""
    plain = path.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w./%$+:@-]+", plain, re.ASCII):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
