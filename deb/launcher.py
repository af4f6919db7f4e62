#!/usr/bin/python3 -I
"""The command `pktlb` of the Debian package: its libraries lie beside it, and only it sees them."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "lib", "pktlb"))

from pktlb.__main__ import main  # noqa: E402 - found only now

if __name__ == "__main__":
    sys.exit(main())
