"""The errors of laboratories, each with the exit status of a script."""


class LabError(Exception):
    """Something did not happen as it should; the text is one sentence for people."""

    exit_status = 1


class UsageError(LabError):
    """The caller named something that does not exist."""

    exit_status = 2


class RefusedError(LabError):
    """The machine refuses something that a laboratory needs: root, a tool, a namespace."""

    exit_status = 3
