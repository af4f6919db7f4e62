"""The command `pktlb`, also as `python -m pktlb`."""

import signal


def main() -> int:
    """Run the command line. Until it has something to undo, Ctrl-C just ends it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pktlb.cli.main import main as run  # noqa: PLC0415 - takes long enough to be interrupted

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
