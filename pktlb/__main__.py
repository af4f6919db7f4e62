"""The command `pktlb`, also as `python -m pktlb`."""

import os
import signal
import sys

LINK = "ipvsadm"
"A link of this name to pktlb is `pktlb ipvsadm`."


def main() -> int:
    """Run the command line. Until it has something to undo, Ctrl-C just ends it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pktlb.cli.main import main as run  # noqa: PLC0415 - takes long enough to be interrupted

    is_link = os.path.basename(sys.argv[0]) == LINK
    return run([LINK, *sys.argv[1:]] if is_link else None)


if __name__ == "__main__":
    raise SystemExit(main())
