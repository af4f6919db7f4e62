"""Listings in ipvsadm's columns, for people and for programs that read them by line."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pktlb.compat.ipvsadm import words
from pktlb.compat.ipvsadm.address import describe, read_end
from pktlb.compat.ipvsadm.names import Names
from pktlb.compat.ipvsadm.table import Counts, Virtual
from pktlb.model import Timeouts, Vip

_HEADERS: Final = {
    "": "Prot LocalAddress:Port Scheduler Flags\n"
    "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
    "stats": "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n"
    "  -> RemoteAddress:Port",
    "rate": "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n"
    "  -> RemoteAddress:Port",
    "thresholds": "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn\n"
    "  -> RemoteAddress:Port",
}
_UNITS: Final = (("K", 10**3, 10**9), ("M", 10**6, 10**11), ("G", 10**9, 10**14))
"Units of large numbers: letter, size, and the number from which the next unit is used."
_PLAIN: Final = 10**8
"The number from which units are used."

_STATES: Final = {
    "SYN_SENT": ("SYN_RECV", "syn"),
    "SYN_RECEIVED": ("SYN_RECV", "syn"),
    "ESTABLISHED": ("ESTABLISHED", "tcp"),
    "CLIENT_FIN": ("FIN_WAIT", "tcp"),
    "BACKEND_FIN": ("CLOSE_WAIT", "tcp"),
    "CLOSED": ("TIME_WAIT", "fin"),
}
"""The name of a flow's state to IPVS, and the name of the timeout that counts in it. A flow without
states is listed by its protocol."""


def heading(max_flows: int, kind: str) -> str:
    """The lines above a table; `max_flows` is shown as the size of IPVS's table."""
    return f"IP Virtual Server version 1.2.1 (size={max_flows})\n{_HEADERS[kind]}"


def services(table: Sequence[Virtual], names: Names) -> Iterator[str]:
    """-L without other options."""
    for virtual in table:
        yield _service_line(virtual, names)
        for real in virtual.reals:
            server = names(real.ip, real.port or _port(virtual.parsed), virtual.proto)
            yield (
                f"  -> {server:<28} {words.FORWARD[real.mode]:<7} {real.weight:<6} "
                f"{real.active:<10} {real.inactive:<10}"
            )


def thresholds(table: Sequence[Virtual], names: Names) -> Iterator[str]:
    """--thresholds."""
    for virtual in table:
        yield _service_line(virtual, names)
        for real in virtual.reals:
            server = names(real.ip, real.port or _port(virtual.parsed), virtual.proto)
            yield (
                f"  -> {server:<28} {real.upper:<10} {real.lower:<10} "
                f"{real.active:<10} {real.inactive:<10}"
            )


def counters(table: Sequence[Virtual], names: Names, exact: bool) -> Iterator[str]:
    """--stats and --rate."""
    for virtual in table:
        label = f"{virtual.proto:<4} {_local(virtual, names)}"
        yield f"{label:<33}" + _numbers(virtual.counts, exact)
        for real in virtual.reals:
            server = names(real.ip, real.port or _port(virtual.parsed), virtual.proto)
            yield f"{f'  -> {server}':<33}" + _numbers(real.counts, exact)


def _numbers(counts: Counts, exact: bool) -> str:
    return "".join(f" {str(number) if exact else short(number):>8}" for number in counts)


def short(number: int) -> str:
    """A number in at most 8 columns: large ones in thousands, millions and so on."""
    if number < _PLAIN:
        return str(number)
    for unit, size, end in _UNITS:
        if number < end:
            return f"{number // size}{unit}"
    return f"{number // 10**12}T"


def timeouts(values: Timeouts) -> str:
    """-L --timeout."""
    return f"Timeout (tcp tcpfin udp): {values.tcp:.0f} {values.fin:.0f} {values.udp:.0f}"


def saved(table: Sequence[Virtual], names: Names) -> Iterator[str]:
    """-S: the commands that -R reads."""
    for virtual in table:
        option = f"-{virtual.proto[0].lower()} {_local(virtual, names)}"
        line = f"-A {option} -s {virtual.scheduler}"
        if virtual.persist_s:
            line += f" -p {virtual.persist_s}"
        if virtual.prefix is not None and virtual.persist_s:
            line += f" -M {_mask(virtual)}"
        if virtual.one_packet:
            line += " -o"
        if virtual.flags:
            line += f" -b {virtual.flags}"
        yield line
        methods = {mode: option for option, mode in words.METHODS.items()}
        for real in virtual.reals:
            server = names(real.ip, real.port or _port(virtual.parsed), virtual.proto)
            line = f"-a {option} -r {server} -{methods[real.mode]} -w {real.weight}"
            if real.upper:
                line += f" -x {real.upper}"
            if real.lower:
                line += f" -y {real.lower}"
            yield line


def connections(
    flows: Sequence[dict[str, Any]], limits: Timeouts, names: Names
) -> Iterator[str]:  # fmt: skip
    """-c: the flows, each with the time after which it is forgotten if no packet comes."""
    yield "IPVS connection entries"
    yield "pro expire state       source             virtual            destination"
    for flow in flows:
        proto = str(flow["proto"]).upper()
        known = str(flow["state"]).upper().replace("-", "_")
        state, limit = _STATES.get(known, (proto, "udp"))
        left = max(0, int(getattr(limits, limit) - flow["idle_s"]))
        ends = [_end(flow[end], proto, names) for end in ("client", "vip", "backend")]
        yield (
            f"{proto:<3} {f'{left // 60:02}:{left % 60:02}':<6} "
            f"{state:<11} {ends[0]:<18} {ends[1]:<18} {ends[2]}"
        )


def _end(text: str, proto: str, names: Names) -> str:
    """An end of a flow as `names` shows it; port 0 if it has none."""
    endpoint = read_end(text)
    return names(endpoint.address, endpoint.port, proto)


def _service_line(virtual: Virtual, names: Names) -> str:
    line = f"{virtual.proto:<4} {_local(virtual, names)} {virtual.scheduler}"
    if virtual.flags:
        line += f" ({virtual.flags})"
    if virtual.persist_s:
        line += f" persistent {virtual.persist_s}"
        if virtual.prefix is not None:
            line += f" mask {_mask(virtual)}"
    if virtual.one_packet:
        line += " ops"
    return line


def _mask(virtual: Virtual) -> str:
    prefix = virtual.prefix or 0
    return str(prefix) if len(virtual.parsed.address) == 16 else words.dotted(prefix)


def _local(virtual: Virtual, names: Names) -> str:
    """The VIP in the column of the local address. IPVS has no ranges of ports; pktlb's are shown
    as ADDR:LOW-HIGH."""
    vip = virtual.parsed
    if vip.any:
        return "any"
    if vip.low == vip.high or (vip.low, vip.high) == (0, 65535):
        return names(vip.address, _port(vip), virtual.proto)
    return f"{describe(vip.address, vip.low)}-{vip.high}"


def _port(vip: Vip) -> int:
    """The port of a VIP; 0 for a range or all ports."""
    return vip.low if vip.low == vip.high else 0
