"""The engines that ought to be equal. Where the native one is missing, that is an error."""

from typing import Final

from pktlb.engine.datapath.pipeline import Dataplane
from pktlb.engine.native.dataplane import NativeDataplane
from tests.differential.twins import Pair

ENGINES: Final = Pair(Dataplane, NativeDataplane)
