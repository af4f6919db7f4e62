"""The words of keepalived: the ones that pktlb has, and what to do instead of the others."""

from typing import Final

METHODS: Final = {"NAT": "nat", "DR": "dsr", "TUN": "tunnel"}
PROTOCOLS: Final = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}

CHECKS: Final = frozenset(
    {"TCP_CHECK", "HTTP_GET", "SSL_GET", "SMTP_CHECK", "DNS_CHECK", "MISC_CHECK", "UDP_CHECK"}
    | {"PING_CHECK", "BFD_CHECK", "FILE_CHECK"}
)
NO_CHECKS: Final = (
    "pktlb has no health checks of its own at present: let what watches the servers call "
    "`pktlb backend drain SERVICE ADDR` and `pktlb backend undrain SERVICE ADDR`"
)

_TIMING: Final = "belongs to health checks, which pktlb does not have at present"
_QUORUM: Final = (
    "pktlb has no quorum: watch `pktlb monitor`, or the states in `pktlb status --json`"
)
_SCRIPT: Final = "pktlb runs no scripts: follow `pktlb monitor --json`"
_MAIL: Final = "pktlb sends no mail: follow `pktlb monitor`"

LOST: Final = {
    "delay_loop": _TIMING,
    "delay_before_retry": _TIMING,
    "connect_timeout": _TIMING,
    "retry": _TIMING,
    "warmup": _TIMING,
    "virtualhost": _TIMING,
    "alpha": "pktlb has no health checks at present: a server counts as up from the start",
    "omega": "pktlb runs no scripts when it stops",
    "ha_suspend": _TIMING,
    "log_all_failures": _TIMING,
    "inhibit_on_failure": "is what `pktlb backend drain` does: open connections go on, no new ones "
    "come",
    "quorum": _QUORUM,
    "hysteresis": _QUORUM,
    "quorum_up": _QUORUM,
    "quorum_down": _QUORUM,
    "sorry_server": "pktlb has no server of last resort: add it as a backend that is drained "
    "(`drain = true`) and undrain it when it is needed",
    "sorry_server_inhibit": "goes with sorry_server",
    "sorry_server_lvs_method": "goes with sorry_server",
    "notify_up": _SCRIPT,
    "notify_down": _SCRIPT,
    "smtp_alert": _MAIL,
    "no_smtp_alert": _MAIL,
    "persistence_engine": "pktlb has no persistence engines: a client is its address "
    "(persist_prefix4, persist_prefix6)",
    "hashed": "pktlb always looks flows up in a table",
    "snmp_name": "pktlb has no SNMP: see `pktlb stats --json`",
}
"Words of virtual_server and real_server that pktlb does not have, and what to do instead."

_VRRP: Final = (
    "pktlb has no VRRP at present: keep keepalived for it, without the virtual servers, and let "
    "its notify scripts start and stop pktlb"
)
_ADDRESSES: Final = "pktlb sets up its VIPs only: keep this in the network's configuration"

_ITSELF: Final = "is about keepalived itself"

BLOCKS: Final = {
    "vrrp_instance": _VRRP,
    "vrrp_sync_group": _VRRP,
    "vrrp_script": _VRRP,
    "vrrp_track_process": _VRRP,
    "vrrp_track_file": _VRRP,
    "track_process": _VRRP,
    "track_file": _VRRP,
    "garp_group": _VRRP,
    "linkbeat_interfaces": _VRRP,
    "bfd_instance": "pktlb has no BFD: keep keepalived or a routing daemon for it",
    "static_ipaddress": _ADDRESSES,
    "static_routes": _ADDRESSES,
    "static_rules": _ADDRESSES,
    "static_ipaddress_group": _ADDRESSES,
    "interface_up_down_delays": _VRRP,
    "SSL": "belongs to health checks, which pktlb does not have at present",
    "net_namespace": "start pktlb in the namespace: `ip netns exec NAME pktlb run -c FILE`",
    "net_namespace_ipvs": "start pktlb in the namespace: `ip netns exec NAME pktlb run -c FILE`",
    "instance": "is `name` in [balancer] to pktlb",
    "track_group": _VRRP,
    "static_track_group": _VRRP,
    "linkbeat_use_polling": _VRRP,
    "namespace_with_ipsets": _VRRP,
    "use_pid_dir": _ITSELF,
    "child_wait_time": _ITSELF,
}
"Words of the top level that are not about virtual servers, and what to do instead."

TOP: Final = frozenset({"virtual_server", "virtual_server_group", "global_defs", *BLOCKS})
"All words of keepalived's top level but `include`."

BEHIND: Final = {
    **dict.fromkeys(("lvs_sched", "lb_algo", "lvs_method", "lb_kind", "protocol", "ip_family"), 1),
    **dict.fromkeys(("weight", "uthreshold", "lthreshold"), 1),
    **dict.fromkeys(("persistence_timeout", "persistence_granularity"), 1),
}
"The number of words that are read behind a word; 0 for one that is not here."
