"""A service and its backends, as the operator wants them: frozen values, checked elsewhere."""

from dataclasses import dataclass

from pktlb.model import WHOLE_FLOW, Endpoint, HashOn, Mode, OnRemove, Scheduler, Vip


@dataclass(frozen=True, slots=True)
class Backend:
    """A machine that serves."""

    endpoint: Endpoint
    weight: int = 1
    "Share of new flows relative to the other backends; 0 takes none."
    name: str = ""
    """What schedulers that hash know it by; none: its address. Two balancers on both sides of the
    same machines, which have an address on each, agree by names."""
    mode: Mode | None = None
    "How frames are sent on to this one; None: as its service says."
    drain: bool = False
    "It takes no new flows, whatever its weight, and persistence does not hold clients to it."
    max_connections: int = 0
    "With so many open flows it takes no more; 0: any number."
    resume_connections: int = 0
    "It takes new ones again when there are fewer than this; 0: three quarters of the maximum."


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Service:
    """What clients dial, and who serves it."""

    vip: Vip
    mode: Mode
    scheduler: Scheduler
    backends: tuple[Backend, ...]
    hash_on: HashOn = WHOLE_FLOW
    one_packet: bool = False
    "UDP: each datagram is a flow of its own."
    pick_up: bool = False
    "A packet in the middle of a TCP connection that is not known opens a flow."
    name: str = ""
    "What commands call it; none: its VIP. Services with the same name are changed together."
    persist_s: int = 0
    """Seconds for which a client stays with its backend after its last flow there has ended; 0: it
    does not."""
    persist4: int = 32
    "So many bits of an IPv4 address are one client to `persist_s`."
    persist6: int = 128
    "The same of an IPv6 address."
    slow_start_s: int = 0
    "Seconds in which a backend that joins or returns comes to its full weight."
    on_remove: OnRemove = OnRemove.RESET

    def __str__(self) -> str:
        return str(self.vip)

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or str(self.vip)

    def mode_of(self, backend: Backend) -> Mode:
        """How frames are sent on to this backend."""
        return backend.mode or self.mode
