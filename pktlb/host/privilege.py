"""What this process may do beyond any process of its user: capabilities(7), given up at the start.

Root has all of them. Each of the five sets is cut down to what is needed, for good: what a program
gets by execve(2) is no more than the bounding set, and with no_new_privs no more than the program
that starts it has. So `nft` and the next pktlb hold what this process holds. Capabilities are a
thread's: they are given up before there is a second one.

User 0 without CAP_DAC_OVERRIDE is a user like any other to the file system. The two capabilities
that open files of other users are kept where a file that is needed later cannot be used otherwise.
"""

import contextlib
import ctypes
import logging
import os
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

log: Final = logging.getLogger(__name__)

NAMES: Final = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
    "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
    "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
    "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
"Of the capabilities, by number (linux/capability.h)."

_VERSION: Final = 0x20080522
"_LINUX_CAPABILITY_VERSION_3: 64 bits a set, in two halves."
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_STATUS: Final = Path("/proc/self/status")

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a process goes on needing."""

    capabilities: tuple[str, ...]
    files: tuple[tuple[str, int], ...] = ()
    "Paths that have to stay usable, each with the mode that os.access takes."
    group: int | None = None
    "A group that a file of this process is given to."
    realtime: bool = False
    "Its threads may run before all ordinary ones (SCHED_FIFO, priority 1)."


class _Sets(NamedTuple):
    """The sets of this process, a bit for each capability."""

    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int


def held() -> tuple[str, ...]:
    """Names of the capabilities that this process has, in the order of the alphabet."""
    return tuple(sorted(_names(_read().effective)))


def give_up(needs: Needs) -> None:
    """Keep what is needed of what there is, and nothing else; to be called in the only thread.

    What is needed and not there is no error here. Where the kernel refuses, that is logged.
    """
    try:
        _give_up(needs)
    except OSError as error:
        log.warning("cannot give up capabilities that are not needed: %s", error.strerror)


def _give_up(needs: Needs) -> None:
    had = _read()
    kept = _mask(needs.capabilities)
    if needs.group is not None and not _is_member(needs.group):
        kept |= _mask(["CAP_CHOWN"])
    if needs.realtime and not _is_granted_real_time():
        kept |= _mask(["CAP_SYS_NICE"])
    kept &= had.permitted
    kept |= _for_files(needs.files, had, kept)
    if had.effective & _mask(["CAP_SETPCAP"]):
        for number in _numbers(had.bounding & ~kept):
            _call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
    if had[:3] != (kept, kept, kept):  # a sandbox may forbid the call, and leave nothing to change
        _set(kept, kept, kept)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for number in _numbers(kept & ~had.ambient):
        with contextlib.suppress(OSError):  # securebits may forbid it; user 0 does without
            _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)


def _is_member(group: int) -> bool:
    """Whether this process is of a group, or could join it: then it may give files to it."""
    there = os.getgroups()
    if group in (os.getegid(), *there):
        return True
    try:
        os.setgroups([*there, group])
    except OSError:
        return False
    return True


def _is_granted_real_time() -> bool:
    """Whether a resource limit allows priority 1, or could be raised: see sched(7)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_RTPRIO)
    if soft:
        return True
    try:
        resource.setrlimit(resource.RLIMIT_RTPRIO, (1, hard or 1))
    except (OSError, ValueError):
        return False
    return True


def _for_files(files: Iterable[tuple[str, int]], had: _Sets, kept: int) -> int:
    """The weakest capability beside `kept` with which the files that can be used now still can."""
    read, everything = _mask(["CAP_DAC_READ_SEARCH"]), _mask(["CAP_DAC_OVERRIDE"])
    usable = [file for file in files if _is_usable(*file)]
    if not had.permitted & (read | everything):
        return 0
    needing = ""
    try:
        for more in (0, read, everything):
            if more & ~had.permitted:
                continue
            _set(had.inheritable, had.permitted, kept | more)
            refused = next((path for path, mode in usable if not _is_usable(path, mode)), "")
            if not refused:
                if more:
                    log.info("%s is kept for %s", *_names(more), needing)
                return more
            needing = refused
    finally:
        _set(had.inheritable, had.permitted, had.effective)
    return 0


def _is_usable(path: str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


def _read() -> _Sets:
    lines = (line.split() for line in _STATUS.read_text().splitlines())
    said = {key: rest[0] for key, *rest in lines if key.startswith("Cap")}
    return _Sets(*(int(said[f"Cap{kind}:"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")))


def _set(inheritable: int, permitted: int, effective: int) -> None:
    """capset(2)."""
    head = (ctypes.c_uint32 * 2)(_VERSION, 0)
    halves = [
        each >> shift & 0xFFFFFFFF
        for shift in (0, 32)
        for each in (effective, permitted, inheritable)
    ]
    _call("capset", head, (ctypes.c_uint32 * 6)(*halves))


def _call(name: str, *arguments: object) -> None:
    """A function of the C library; `OSError` where it fails."""
    longs = (ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments)
    if _libc[name](*longs):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _numbers(bits: int) -> Iterator[int]:
    return (number for number in range(bits.bit_length()) if bits >> number & 1)


def _names(bits: int) -> list[str]:
    """Capabilities of a newer kernel than this list have their numbers for names."""
    return [NAMES[n] if n < len(NAMES) else f"CAP_{n}" for n in _numbers(bits)]


def _mask(names: Iterable[str]) -> int:
    return sum(1 << NAMES.index(name) for name in names)
