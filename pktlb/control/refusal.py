"""Why a request is not done, as HTTP says it."""

from collections.abc import Sequence

from pktlb.errors import PktlbError


class RefusedError(PktlbError):
    """The request ends with this status, and a line for people."""

    status = 400

    def __init__(self, text: str, problems: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.problems = tuple(problems) or (text,)


class BadRequestError(RefusedError):
    """A value, a key or a form that is not understood."""


class ForbiddenError(RefusedError):
    """Not for whom is asking."""

    status = 403


class NotFoundError(RefusedError):
    """There is no such service, backend or page."""

    status = 404


class ConflictError(RefusedError):
    """It is there already, or there is more than one of it."""

    status = 409


class TooLargeError(RefusedError):
    """More than is read."""

    status = 413


class BusyError(RefusedError):
    """As many as there may be are at it."""

    status = 503
