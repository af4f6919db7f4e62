"""Errors of requests, each with its status of HTTP."""

from collections.abc import Sequence

from pktlb.errors import PktlbError


class RefusedError(PktlbError):
    """A request is refused with `status`, and with `problems`, a line each."""

    status = 400

    def __init__(self, text: str, problems: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.problems = tuple(problems) or (text,)


class BadRequestError(RefusedError):
    """A value, a key or a body is not understood."""


class ForbiddenError(RefusedError):
    """The user may not do this."""

    status = 403


class NotFoundError(RefusedError):
    """There is no such service, backend or page."""

    status = 404


class ConflictError(RefusedError):
    """There is one already, or there are several."""

    status = 409


class TooLargeError(RefusedError):
    """The body is too large."""

    status = 413


class BusyError(RefusedError):
    """There are too many such requests at present."""

    status = 503
