"""What became of one frame."""

from collections.abc import Sequence
from typing import NamedTuple

from pktlb.engine.datapath.frame import Frame
from pktlb.model import Reason


class Outcome(NamedTuple):
    """Why, and which frames that makes."""

    reason: Reason
    frames: Sequence[Frame] = ()
    """SEND and ANSWER: what goes out, each with its port. PASS: what the kernel has to be given,
    which is nothing where it has the frame already; and fragments that waited for this one."""
