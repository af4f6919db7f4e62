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
        """The flow of this key. Forgets it instead if it has expired."""
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
    """The cycle: each time the backend furthest behind its share, by the method of Webster.

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
    """The backend with the fewest connections by weight; of equals the one not chosen for longest,
    then the first."""
    load = [
        (Fraction(count, weight), turn)
        for count, weight, turn in zip(active, weights, turns, strict=True)
    ]
    return load.index(min(load))


def slow_shortest(active: Sequence[int], weights: Sequence[int], turns: Sequence[int]) -> int:
    """As `slow_least`, with the new connection counted."""
    return slow_least([count + 1 for count in active], weights, turns)


def slow_never_queue(active: Sequence[int], weights: Sequence[int], turns: Sequence[int]) -> int:
    """An idle backend, the one not chosen for longest first; if there is none, as
    `slow_shortest`."""
    idle = [place for place, count in enumerate(active) if not count]
    if idle:
        return min(idle, key=lambda place: (turns[place], place))
    return slow_shortest(active, weights, turns)


def slow_prefix(address: bytes, bits: int) -> bytes:
    """An address with only its first bits kept."""
    text = "".join(f"{byte:08b}" for byte in address)
    kept = text[:bits].ljust(len(text), "0")
    return bytes(int(kept[at : at + 8], 2) for at in range(0, len(kept), 8))


def slow_maglev(starts: Sequence[int], skips: Sequence[int], slots: int) -> list[int]:
    """Over whole permutation lists: all take turns to look at the next slot of their own, and take
    it if it is free, until each has its share; what is left over goes to one more each."""
    permutation = [
        [(start + turn * skip) % slots for turn in range(slots)]
        for start, skip in zip(starts, skips, strict=True)
    ]
    turns = [0] * len(starts)
    entry = [-1] * slots
    share = slots // len(starts)
    while -1 in entry:
        wanted = [share] * len(starts)
        while any(wanted) and -1 in entry:
            for i in range(len(starts)):
                slot = permutation[i][turns[i] % slots]
                if not wanted[i]:
                    continue
                turns[i] += 1
                if entry[slot] < 0:
                    entry[slot] = i
                    wanted[i] -= 1
        share = 1
    return entry


def slow_reassembly(packets: Sequence[bytes]) -> bytes:
    """The packet that a receiver reassembles from fragments (RFC 791; RFC 8200, section 4.5).

    A packet that is whole is returned as it is."""
    if packets[0][0] >> 4 == 6:
        return _slow_reassembly6(packets)
    pieces = {}
    for packet in packets:
        size = (packet[0] & 15) * 4
        field = int.from_bytes(packet[6:8], "big")
        pieces[(field & 0x1FFF) * 8] = (packet[size:], bool(field & 0x2000), packet[:size])
    load = _joined({start: piece[:2] for start, piece in pieces.items()})
    header = bytearray(pieces[0][2])
    header[2:4] = (len(header) + len(load)).to_bytes(2, "big")
    header[6:8] = (int.from_bytes(header[6:8], "big") & 0xDFFF).to_bytes(2, "big")
    header[10:12] = b"\0\0"
    header[10:12] = slow_checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + load


def _slow_reassembly6(packets: Sequence[bytes]) -> bytes:
    pieces = {}
    for packet in packets:
        before, at = 6, 40
        "Offset of the byte with the number of the header at `at`."
        while packet[before] != 44:
            if packet[before] not in (0, 43, 60):
                assert len(packets) == 1, "a whole packet among fragments"
                return packet
            before, at = at, at + 8 + packet[at + 1] * 8
        field = int.from_bytes(packet[at + 2 : at + 4], "big")
        head = bytearray(packet[:at])
        head[before] = packet[at]
        pieces[field & 0xFFF8] = (packet[at + 8 :], bool(field & 1), head)
    load = _joined({start: piece[:2] for start, piece in pieces.items()})
    header = pieces[0][2]
    header[4:6] = (len(header) - 40 + len(load)).to_bytes(2, "big")
    return bytes(header) + load


def _joined(pieces: dict[int, tuple[bytes, bool]]) -> bytes:
    """The data of all fragments; checks that offsets and "more fragments" fit together."""
    load = b""
    for offset in sorted(pieces):
        assert offset == len(load), "a hole or an overlap"
        load += pieces[offset][0]
    more = [pieces[offset][1] for offset in sorted(pieces)]
    assert more == [True] * (len(more) - 1) + [False]
    return load


class SlowSourcePorts:
    """The endpoints in use towards each backend, as a set."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used: dict[object, set[object]] = {}

    def take(self, backend: object, endpoint: object | None) -> None:
        """Check an allotment: it must be a free endpoint, or None where none is free."""
        used = self.used.setdefault(backend, set())
        if endpoint is None:
            assert len(used) == self.total, "refused while one was free"
            return
        assert endpoint not in used, "allotted twice"
        used.add(endpoint)

    def give_back(self, backend: object, endpoint: object) -> None:
        self.used[backend].remove(endpoint)
