"""Where the log of what runs for long goes: to standard error, for the journal or a terminal."""

import sys


def to_stderr() -> None:
    """Log from here on."""
    import logging  # noqa: PLC0415 - no short command needs it

    logging.basicConfig(format="pktlb: %(message)s", level=logging.INFO, stream=sys.stderr)
