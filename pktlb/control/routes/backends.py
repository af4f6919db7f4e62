"""Backends of a service: added, changed, removed, at once or when their last flow has ended."""

import asyncio
from typing import Final

from aiohttp import web

from pktlb.config.config import Config
from pktlb.config.file import backend_of, changed_backend
from pktlb.config.text import parse_number
from pktlb.control import edits, views
from pktlb.control.operator import Removal
from pktlb.control.request import (
    answer,
    is_dry,
    is_set,
    object_of,
    on_remove_of,
    operator_of,
    query_of,
    watching,
)
from pktlb.control.routes.route import Route, change
from pktlb.model import OnRemove

MAX_WITHIN_S: Final = 31 * 86400


async def add(request: web.Request) -> web.Response:
    dry_run, wanted = is_dry(request), object_of(request)

    def edit(config: Config) -> Config:
        found = edits.services_named(config, request.match_info["name"])
        return edits.with_changed(
            config,
            [edits.with_backend(service, backend_of(wanted, service)) for service in found],
        )

    return await change(request, edit, dry_run)


async def update(request: web.Request) -> web.Response:
    dry_run, wanted = is_dry(request), object_of(request)

    def edit(config: Config) -> Config:
        return edits.with_changed(
            config,
            [
                edits.with_changed_backend(
                    service, backend, changed_backend(backend, service, wanted)
                )
                for service, backend in _named(request, config)
            ],
        )

    return await change(request, edit, dry_run)


async def remove(request: web.Request) -> web.Response:
    query = query_of(request, ["dry_run", "drain", "within", "on_remove"])
    on_remove = on_remove_of(query)
    dry_run, drain = is_set(query, "dry_run"), is_set(query, "drain")
    within = None
    if "within" in query:
        within = float(parse_number(query["within"], 0, MAX_WITHIN_S, "seconds for within"))
    if drain and not dry_run:
        return await _remove_when_idle(request, within, on_remove)

    def edit(config: Config) -> Config:
        return edits.with_changed(
            config,
            [edits.without_backend(service, b) for service, b in _named(request, config)],
        )

    return await change(request, edit, dry_run, on_remove)


async def _remove_when_idle(
    request: web.Request, within_s: float | None, on_remove: OnRemove | None
) -> web.Response:
    """Remove backends of all services of the name, each of which may have another port. If one
    cannot be removed, the others are not waited for."""
    operator = operator_of(request)
    gone = [(str(s.vip), b.endpoint) for s, b in _named(request, operator.config)]
    with watching(request):
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(operator.remove_when_idle(vip, end, within_s, on_remove))
                    for vip, end in gone
                ]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
    done = [task.result() for task in tasks]
    whole = Removal(sum(each.flows_cut for each in done), max(each.waited_s for each in done))
    return await answer(lambda: views.removal(whole))


def _named(request: web.Request, config: Config) -> list[edits.Member]:
    found = edits.services_named(config, request.match_info["name"])
    return edits.backends_at(found, request.match_info["address"])


ROUTES: Final = (
    Route("POST", "/v1/services/{name}/backends", add),
    Route("PATCH", "/v1/services/{name}/backends/{address}", update),
    Route("DELETE", "/v1/services/{name}/backends/{address}", remove),
)
