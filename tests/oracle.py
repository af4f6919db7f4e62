"""Slow twins: each says what a clever structure of pktlb must do, in the most obvious way.

Nothing here is fast, shared or reused by pktlb; where one of these and the engine differ, one of
them is wrong. They import words of the model and nothing of the datapath's machinery.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


def slow_sum(data: bytes) -> int:
    """One's complement sum of the 16-bit words, with the carry taken around (RFC 1071)."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        if total > 0xFFFF:
            total = (total & 0xFFFF) + 1
    return total


def slow_checksum(data: bytes) -> int:
    return 0xFFFF - slow_sum(data)


@dataclass
class SlowFlow:
    """A flow as the slow table keeps it."""

    keys: tuple[object, ...]
    timeout: float
    dies_at: float


class SlowFlowTable:
    """A list, searched from its start."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.flows: list[SlowFlow] = []

    def find(self, key: object, now: float) -> SlowFlow | None:
        """The flow of this key; if it has died, it is buried now."""
        for flow in self.flows:
            if key in flow.keys:
                if now >= flow.dies_at:
                    self.flows.remove(flow)
                    return None
                return flow
        return None

    def add(self, keys: tuple[object, ...], timeout: float, now: float) -> None:
        self.flows.append(SlowFlow(keys, timeout, now + timeout))

    def touch(self, flow: SlowFlow, timeout: float, now: float) -> None:
        flow.timeout = timeout
        flow.dies_at = now + timeout

    def remove(self, flow: SlowFlow) -> None:
        self.flows.remove(flow)

    def dead(self, now: float) -> list[SlowFlow]:
        return [flow for flow in self.flows if now >= flow.dies_at]


def slow_round_robin(weights: Sequence[int], picks: int) -> list[int]:
    """Each time the party furthest behind its share, by the rule of Webster.

    Places of equal weight are one party and take turns; of two parties, the first place wins.
    """
    got = [0] * len(weights)
    chosen = []
    for _ in range(picks):
        candidates = []
        for weight in set(weights):
            members = [place for place, each in enumerate(weights) if each == weight]
            seats = sum(got[place] for place in members)
            turn = min(members, key=lambda place: (got[place], place))
            candidates.append((Fraction(2 * seats + 1, weight * len(members)), turn))
        place = min(candidates)[1]
        got[place] += 1
        chosen.append(place)
    return chosen


def slow_least(active: Sequence[int], weights: Sequence[int], turns: Sequence[int]) -> int:
    """Fewest connections a weight, then the longest not chosen, then the first."""
    load = [
        (Fraction(count, weight), turn)
        for count, weight, turn in zip(active, weights, turns, strict=True)
    ]
    return load.index(min(load))


def slow_maglev(starts: Sequence[int], skips: Sequence[int], slots: int) -> list[int]:
    """The pseudocode of the Maglev paper (section 3.4) over whole permutation lists."""
    permutation = [
        [(start + turn * skip) % slots for turn in range(slots)]
        for start, skip in zip(starts, skips, strict=True)
    ]
    following = [0] * len(starts)
    entry = [-1] * slots
    filled = 0
    while True:
        for i in range(len(starts)):
            while entry[permutation[i][following[i]]] >= 0:
                following[i] += 1
            entry[permutation[i][following[i]]] = i
            following[i] += 1
            filled += 1
            if filled == slots:
                return entry


def slow_reassembly(packets: Sequence[bytes]) -> bytes:
    """IPv4 fragments, header included, put together again as a receiver does (RFC 791)."""
    pieces = {}
    for packet in packets:
        size = (packet[0] & 15) * 4
        field = int.from_bytes(packet[6:8], "big")
        pieces[(field & 0x1FFF) * 8] = (packet[size:], bool(field & 0x2000), packet[:size])
    load = b""
    for offset in sorted(pieces):
        assert offset == len(load), "a hole or an overlap"
        load += pieces[offset][0]
    more = [pieces[offset][1] for offset in sorted(pieces)]
    assert more == [True] * (len(more) - 1) + [False]
    header = bytearray(pieces[0][2])
    header[2:4] = (len(header) + len(load)).to_bytes(2, "big")
    header[6:8] = (int.from_bytes(header[6:8], "big") & 0xDFFF).to_bytes(2, "big")
    header[10:12] = b"\0\0"
    header[10:12] = slow_checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + load


class SlowSourcePorts:
    """Which endpoints are in use towards each backend: a set each, and no more."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used: dict[object, set[object]] = {}

    def take(self, backend: object, endpoint: object | None) -> None:
        """Judge an allotment: none while one is free and a used one are both wrong."""
        used = self.used.setdefault(backend, set())
        if endpoint is None:
            assert len(used) == self.total, "refused while one was free"
            return
        assert endpoint not in used, "allotted twice"
        used.add(endpoint)

    def give_back(self, backend: object, endpoint: object) -> None:
        self.used[backend].remove(endpoint)
