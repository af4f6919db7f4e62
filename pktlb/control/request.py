"""The parts of a request, checked, and the answer to it."""

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Final

from aiohttp import web

from pktlb.control.connection import Connection, Connections
from pktlb.control.operator import Operator
from pktlb.control.refusal import BadRequestError, TooLargeError
from pktlb.control.views import Json
from pktlb.model import OnRemove

MAX_BODY: Final = 1 << 20
MAX_FILE: Final = 16 << 20
_MAX_DIGITS: Final = 64

OPERATOR: Final = web.AppKey("operator", Operator)
CONNECTIONS: Final = web.AppKey("connections", Connections)
_TRUTH: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def operator_of(request: web.Request) -> Operator:
    """The operator of the balancer that is asked."""
    return request.app[OPERATOR]


def connection_of(request: web.Request) -> Connection:
    """The connection of a request. Raises `ConnectionResetError` if the client is gone."""
    connection = request.app[CONNECTIONS].of(request.transport)
    if connection is None:
        raise ConnectionResetError("the client is gone")
    return connection


def watching(request: web.Request) -> AbstractContextManager[None]:
    """A `with` block that is cancelled when the client goes. Anything outside of such a block is
    done to its end."""
    return connection_of(request).watching()


async def read_body(request: web.Request, most: int) -> bytes:
    """The body of a request. Raises `TooLargeError` if it has more than `most` bytes."""
    if (request.content_length or 0) > most:
        raise TooLargeError(f"expected a body of {most} bytes at most")
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            raise TooLargeError(f"expected a body of {most} bytes at most")
    return bytes(body)


def query_of(request: web.Request, allowed: Iterable[str] = ()) -> dict[str, str]:
    """The query, by name. Raises `BadRequestError` if a name is not allowed, or repeated."""
    names, found = set(allowed), dict[str, str]()
    for name, value in request.query.items():
        if name not in names:
            raise BadRequestError(f"{name}: expected {', '.join(sorted(names)) or 'no query'}")
        if name in found:
            raise BadRequestError(f"{name}: expected once")
        found[name] = value
    return found


def is_set(query: dict[str, str], name: str) -> bool:
    """Whether a switch of the query is on; it is off where it is missing. Raises
    `BadRequestError`."""
    value = query.get(name, "0")
    if value not in _TRUTH:
        raise BadRequestError(f"{name} {value}: expected 1 or 0")
    return _TRUTH[value]


def on_remove_of(query: dict[str, str]) -> OnRemove | None:
    """What becomes of the connections of removed backends; None: the query does not say it. Raises
    `BadRequestError`."""
    if "on_remove" not in query:
        return None
    try:
        return OnRemove(query["on_remove"])
    except ValueError as error:
        known = ", ".join(each.value for each in OnRemove)
        raise BadRequestError(f"on_remove {query['on_remove']}: expected {known}") from error


def is_dry(request: web.Request) -> bool:
    """Whether a request shall change nothing, and only tell what it would change. Raises
    `BadRequestError` if its query has anything but `dry_run`."""
    return is_set(query_of(request, ["dry_run"]), "dry_run")


def switches_of(request: web.Request) -> tuple[bool, bool]:
    """Of a request that may bring addresses: whether it is dry, and whether it insists on them."""
    query = query_of(request, ["dry_run", "force"])
    return is_set(query, "dry_run"), is_set(query, "force")


def object_of(request: web.Request) -> object:
    """The JSON value in the body, which is bounded in size. Raises `BadRequestError`."""
    try:
        found = json.loads(
            connection_of(request).body,
            object_pairs_hook=_once, parse_constant=_refuse_constant, parse_int=_whole,
        )  # fmt: skip
        json.dumps(found, ensure_ascii=False).encode()  # no half of a surrogate pair
    except RecursionError as error:
        raise BadRequestError("body: expected JSON that is not nested so deep") from error
    except ValueError as error:
        raise BadRequestError(f"body: expected JSON: {error}") from error
    return found


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number has more than {_MAX_DIGITS} digits")
    return int(digits)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def text_of(request: web.Request) -> str:
    """The text in the body. Raises `BadRequestError` if it is not UTF-8."""
    try:
        text: str = connection_of(request).body.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError(f"body: expected UTF-8: {error}") from error
    return text


async def answer(make: Callable[[], Json], status: int = 200) -> web.Response:
    """An answer with the object that `make` returns. A thread makes and writes it, so that frames
    do not wait for a long one."""
    body = await asyncio.to_thread(lambda: json.dumps(make()).encode() + b"\n")
    return web.Response(body=body, status=status, content_type="application/json")
