"""One route: a method, a path, and what is done."""

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
    """Whoever can connect may read; all else takes the right to change things."""

    method: str
    path: str
    handler: Handler
    max_body: int = MAX_BODY


async def change(
    request: web.Request, edit: Edit, dry_run: bool, policy: OnRemove | None = None,
    force: bool = False,
) -> web.Response:  # fmt: skip
    """Do it, or say what it would do."""
    operator = operator_of(request)
    async with operator.changing:
        wanted = edit(operator.config)
        made = await (operator.plan if dry_run else operator.apply)(wanted, policy, force)
    return await tell(made, dry_run)


async def tell(made: Change, dry_run: bool) -> web.Response:
    return await answer(lambda: views.change(made, dry_run))
