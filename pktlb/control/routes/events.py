"""Events as they happen, a line of JSON each, until the client goes."""

import json
from typing import Final, Protocol, runtime_checkable

from aiohttp import web

from pktlb.control import views
from pktlb.control.refusal import BusyError
from pktlb.control.request import operator_of, query_of, watching
from pktlb.control.routes.route import Route

MAX_LISTENERS: Final = 16
LISTENERS: Final = web.AppKey("listeners", set[object])
"A token for each listener."


@runtime_checkable
class Closable(Protocol):
    """An iterator that has to be closed by its consumer."""

    async def aclose(self) -> None: ...


async def follow(request: web.Request) -> web.StreamResponse:
    query_of(request)
    listeners = request.app[LISTENERS]
    if len(listeners) >= MAX_LISTENERS:
        raise BusyError(f"expected {MAX_LISTENERS} listeners at most")
    token = object()
    listeners.add(token)
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    response.force_close()
    try:
        with watching(request):
            await _send(request, response)
    finally:
        listeners.discard(token)
    return response


async def _send(request: web.Request, response: web.StreamResponse) -> None:
    events = operator_of(request).subscribe()
    try:
        await response.prepare(request)
        async for event in events:
            await response.write(json.dumps(views.event(event)).encode() + b"\n")
    finally:
        if isinstance(events, Closable):
            await events.aclose()


ROUTES: Final = (Route("GET", "/v1/events", follow),)
