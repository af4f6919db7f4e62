"""The planes that must be equal. Where the native one is not built, the import fails."""

from typing import Final

from pktlb.engine.datapath.pipeline import Dataplane
from pktlb.engine.native.dataplane import NativeDataplane
from tests.differential.twins import Pair

ENGINES: Final = Pair(Dataplane, NativeDataplane)
