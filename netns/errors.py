"""What can go wrong in a laboratory, and with which exit status a script then ends."""


class LabError(Exception):
    """Something did not happen as it should; the text is one sentence for a person."""

    exit_status = 1


class UsageError(LabError):
    """The caller named something that there is not."""

    exit_status = 2


class RefusedError(LabError):
    """The machine refuses what a laboratory needs: root, a tool, a namespace."""

    exit_status = 3
