"""The balancer as a whole: its status, its configuration, reload and restart."""

import time
from typing import Final

from aiohttp import web

from pktlb.config.file import write
from pktlb.control import views
from pktlb.control.request import (
    MAX_FILE,
    answer,
    is_dry,
    operator_of,
    query_of,
    switches_of,
    text_of,
)
from pktlb.control.routes.route import Route, tell


async def status(request: web.Request) -> web.Response:
    query_of(request)
    operator = operator_of(request)
    services, counts = operator.status(), operator.counts()
    return await answer(lambda: views.status(services, counts))


async def stats(request: web.Request) -> web.Response:
    query_of(request)
    operator = operator_of(request)
    services, counts, now = operator.status(), operator.counts(), time.time()
    return await answer(lambda: views.stats(services, counts, now))


async def config(request: web.Request) -> web.Response:
    query_of(request)
    return web.Response(text=write(operator_of(request).config))


async def plan(request: web.Request) -> web.Response:
    query_of(request)
    operator = operator_of(request)
    made = await operator.plan(await operator.read_file(text_of(request)))
    return await tell(made, dry_run=True)


async def replace(request: web.Request) -> web.Response:
    """Put the configuration file in the body in force."""
    dry_run, force = switches_of(request)
    operator = operator_of(request)
    wanted = await operator.read_file(text_of(request))
    async with operator.changing:
        made = await (operator.plan if dry_run else operator.apply)(wanted, None, force)
    return await tell(made, dry_run)


async def reload(request: web.Request) -> web.Response:
    dry_run, force = switches_of(request)
    operator = operator_of(request)
    async with operator.changing:
        if dry_run:
            made = await operator.plan(await operator.read_file(None), None, force)
        else:
            made = await operator.reload(force)
    return await tell(made, dry_run)


async def restart(request: web.Request) -> web.Response:
    dry_run = is_dry(request)
    operator = operator_of(request)
    async with operator.changing:
        made = await operator.restart(dry_run)
    return await tell(made, dry_run)


async def zero(request: web.Request) -> web.Response:
    dry_run = is_dry(request)
    if not dry_run:
        operator_of(request).zero()
    return await answer(lambda: {"version": views.VERSION, "dry_run": dry_run})


ROUTES: Final = (
    Route("GET", "/v1/status", status),
    Route("GET", "/v1/stats", stats),
    Route("GET", "/v1/config", config),
    Route("PUT", "/v1/config", replace, MAX_FILE),
    Route("POST", "/v1/plan", plan, MAX_FILE),
    Route("POST", "/v1/reload", reload),
    Route("POST", "/v1/restart", restart),
    Route("POST", "/v1/zero", zero),
)
