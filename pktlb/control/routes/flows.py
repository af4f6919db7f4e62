"""Flows: listed, counted, ended; only flows that fit all filters of the query."""

from typing import Final

from aiohttp import web

from pktlb.config.text import parse_number
from pktlb.control import views
from pktlb.control.refusal import BadRequestError
from pktlb.control.request import answer, is_set, operator_of, query_of
from pktlb.control.routes.route import Route
from pktlb.control.selection import FILTERS, make_selection

LIMIT: Final = 1000
"Flows in a listing without another limit."
MAX_LIMIT: Final = 100_000


async def listed(request: web.Request) -> web.Response:
    query = query_of(request, [*FILTERS, "limit"])
    limit = LIMIT
    if "limit" in query:
        limit = parse_number(query["limit"], 0, MAX_LIMIT, "a limit")
    shown, total = await operator_of(request).flows(make_selection(query), limit)
    return await answer(lambda: views.flows(shown, total))


async def count(request: web.Request) -> web.Response:
    query = query_of(request, FILTERS)
    _, total = await operator_of(request).flows(make_selection(query), 0)
    return await answer(lambda: {"version": views.VERSION, "total": total})


async def kill(request: web.Request) -> web.Response:
    query = query_of(request, [*FILTERS, "all", "dry_run"])
    dry_run = is_set(query, "dry_run")
    if not set(query) & set(FILTERS) and not is_set(query, "all"):
        raise BadRequestError(f"expected a filter ({', '.join(FILTERS)}), or all=1")
    operator, select = operator_of(request), make_selection(query)
    killed = (await operator.flows(select, 0))[1] if dry_run else await operator.kill(select)
    return await answer(lambda: {"version": views.VERSION, "dry_run": dry_run, "killed": killed})


ROUTES: Final = (
    Route("GET", "/v1/flows", listed),
    Route("GET", "/v1/flows/count", count),
    Route("DELETE", "/v1/flows", kill),
)
