"""Services: listed, added, changed, removed. Objects have the keys of the configuration file."""

from typing import Final

from aiohttp import web

from pktlb.config.config import Config
from pktlb.config.file import changed_service, service_object, service_of
from pktlb.control import edits, views
from pktlb.control.request import (
    answer,
    is_dry,
    is_set,
    object_of,
    on_remove_of,
    operator_of,
    query_of,
    switches_of,
)
from pktlb.control.routes.route import Route, change


async def listed(request: web.Request) -> web.Response:
    query_of(request)
    config = operator_of(request).config
    return await answer(
        lambda: {
            "version": views.VERSION,
            "services": [service_object(service, config) for service in config.services],
        }
    )


async def shown(request: web.Request) -> web.Response:
    query_of(request)
    config = operator_of(request).config
    found = edits.services_named(config, request.match_info["name"])
    return await answer(
        lambda: {
            "version": views.VERSION,
            "services": [service_object(service, config) for service in found],
        }
    )


async def add(request: web.Request) -> web.Response:
    (dry_run, force), wanted = switches_of(request), object_of(request)

    def edit(config: Config) -> Config:
        return edits.with_services(config, service_of(wanted, config))

    return await change(request, edit, dry_run, force=force)


async def update(request: web.Request) -> web.Response:
    dry_run, wanted = is_dry(request), object_of(request)

    def edit(config: Config) -> Config:
        found = edits.services_named(config, request.match_info["name"])
        changed = [changed_service(service, wanted, config) for service in found]
        return edits.with_changed(config, changed)

    return await change(request, edit, dry_run)


async def remove(request: web.Request) -> web.Response:
    query = query_of(request, ["dry_run", "on_remove"])
    dry_run, on_remove = is_set(query, "dry_run"), on_remove_of(query)

    def edit(config: Config) -> Config:
        found = edits.services_named(config, request.match_info["name"])
        return edits.without_services(config, found)

    return await change(request, edit, dry_run, on_remove)


ROUTES: Final = (
    Route("GET", "/v1/services", listed),
    Route("POST", "/v1/services", add),
    Route("GET", "/v1/services/{name}", shown),
    Route("PATCH", "/v1/services/{name}", update),
    Route("DELETE", "/v1/services/{name}", remove),
)
