"""What became of one frame."""

from collections.abc import Sequence
from typing import NamedTuple

from pktlb.engine.datapath.frame import Frame
from pktlb.model import Reason


class Outcome(NamedTuple):
    """The reason of a frame's fate, and the frames that come of it."""

    reason: Reason
    frames: Sequence[Frame] = ()
    """SEND, ANSWER: the frames that go out, each with its port. PASS: the frames that the kernel
    has to be given; none where it has the frame already. Fragments that waited for this one
    follow."""
