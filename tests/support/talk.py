"""A TCP connection through a plane, told by numbers that count from the SYN of each side."""

from typing import Any, Final

from pktlb.engine.datapath.frame import Frame
from pktlb.engine.datapath.outcome import Outcome
from pktlb.engine.datapath.tcp import State
from pktlb.engine.plane import AnyFlow
from pktlb.model import Mode, Reason
from tests.support.gateway import Gateway, MakePlane, service, tables
from tests.support.packets import V4, Packet, Peer, World, at, tcp

ROUND: Final = 1 << 32
STARTS: Final = ((1000, 5000), (2**32 - 2, 2**31 - 2), (2**31 - 30, 2**32 - 30))
"First sequence numbers of client and backend; most come round within a connection."


class Talk:
    """Both ends of a connection to a service over two backends."""

    def __init__(
        self,
        engine: MakePlane,
        mode: Mode = Mode.NAT,
        world: World = V4,
        starts: tuple[int, int] = STARTS[0],
        **options: Any,
    ) -> None:
        table = service(mode, {"a": 1, "b": 1}, at=world.vip(), **options)
        self.gateway: Final = Gateway(engine, tables(table), max_flows=16)
        self.mode: Final = mode
        self.world: Final = world
        self.starts: Final = starts

    def client(
        self, flags: str, seq: int = 1, ack: int = 1, size: int = 0, *, mac: str = "", **more: Any
    ) -> Packet:
        """A segment of the client: its byte number `seq`, which acknowledges all in front of `ack`,
        with `size` bytes."""
        here, there = self.starts
        sender = self.world.client(mac=mac) if mac else self.world.client()
        seq, ack = (here + seq) % ROUND, (there + ack) % ROUND
        return tcp(sender, self.world.vip(), flags, bytes(size), seq=seq, ack=ack, **more)

    def backend(self, flags: str, seq: int = 1, ack: int = 1, size: int = 0, **more: Any) -> Packet:
        """The same of the backend."""
        there, here = self.starts
        sender: Peer = self.world.backend()
        if self.mode is not Mode.NAT:
            sender = at(self.world.vip(), sender)
        seq, ack = (here + seq) % ROUND, (there + ack) % ROUND
        return tcp(sender, self.world.inside, flags, bytes(size), seq=seq, ack=ack, **more)

    def take(self, *packets: Packet, now: float = 0.0) -> Outcome:
        """Let the plane handle packets; the last outcome."""
        outcomes = [self.gateway.receive(packet, now) for packet in packets]
        return outcomes[-1]

    def take_unsound(self, given: Frame, now: float = 0.0) -> Reason:
        """Let the plane handle a frame with a wrong checksum, which it sends on as wrong."""
        self.gateway._handled += 1
        return self.gateway.plane.handle(given, now).reason

    def open(self, scale: int | None = 7, now: float = 0.0) -> None:
        """Three packets, of which the backend's is seen with NAT only."""
        options = [] if scale is None else [("WScale", scale)]
        self.take(self.client("S", 0, 0, tcp_options=options), now=now)
        if self.mode is Mode.NAT:
            self.take(self.backend("SA", 0, tcp_options=options), now=now)
        self.take(self.client("A"), now=now)
        assert self.state() is State.ESTABLISHED

    @property
    def flow(self) -> AnyFlow:
        (flow,) = self.gateway.plane.flows
        return flow

    def state(self) -> State:
        return State(self.flow.state)

    @property
    def memory(self) -> tuple[object, ...]:
        """What no forged packet may change."""
        flow = self.flow
        return flow.state, flow.backend, flow.client_mac, flow.client_port, flow.numbers
