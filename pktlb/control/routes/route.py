"""One route: a method, a path, and the function that answers."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from pktlb.control import views
from pktlb.control.edits import Edit
from pktlb.control.request import MAX_BODY, answer, operator_of
from pktlb.model import OnRemove
from pktlb.plan.change import Change

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """GET is for every client that can connect; other methods need the right to change things."""

    method: str
    path: str
    handler: Handler
    max_body: int = MAX_BODY
    "The most bytes that the body of a request may have."


async def change(
    request: web.Request, edit: Edit, dry_run: bool, on_remove: OnRemove | None = None,
    force: bool = False,
) -> web.Response:  # fmt: skip
    """Put an edited configuration in force, or with `dry_run` only tell what it would change."""
    operator = operator_of(request)
    async with operator.changing:
        wanted = edit(operator.config)
        made = await (operator.plan if dry_run else operator.apply)(wanted, on_remove, force)
    return await tell(made, dry_run)


async def tell(made: Change, dry_run: bool) -> web.Response:
    return await answer(lambda: views.change(made, dry_run))
