"""A case: one sentence, a scene, a packet, and what must become of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pktlb.datapath.frame import Frame
from pktlb.datapath.tables import Tables
from pktlb.model import Reason
from tests.gateway import Engine, Gateway
from tests.packets import Packet


@dataclass(frozen=True)
class Case:
    """`given` after `before` ends in `reason` and in the frames of `expect`, byte for byte."""

    sentence: str
    tables: Tables
    given: Packet | Frame
    reason: Reason
    expect: Sequence[Packet | Frame] = ()
    before: Sequence[Packet | Frame] = ()
    "Packets that came by before, whatever became of them."
    limits: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.sentence

    def check(self, engine: Engine) -> None:
        gateway = Gateway(engine, self.tables, **self.limits)
        for earlier in self.before:
            gateway.receive(earlier)
        gateway.expect(self.given, self.reason, *self.expect)
