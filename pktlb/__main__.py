"""The command `pktlb`, also as `python -m pktlb`."""

import os
import signal
import sys

LINKS = {"ipvsadm": [], "ipvsadm-save": ["-S"], "ipvsadm-restore": ["-R"]}
"Links of these names to pktlb are `pktlb ipvsadm`, the last two with a command of it."


def main() -> int:
    """Run the command line. Until it has something to undo, Ctrl-C just ends it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pktlb.cli.main import main as run  # noqa: PLC0415 - takes long enough to be interrupted

    command = LINKS.get(os.path.basename(sys.argv[0]))
    if command is None:
        return run(None)
    words = sys.argv[1:]
    asks_for_help = words in (["-h"], ["--help"])
    return run(["ipvsadm", *words, *([] if asks_for_help else command)])


if __name__ == "__main__":
    raise SystemExit(main())
