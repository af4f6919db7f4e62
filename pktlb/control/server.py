"""The server of the control socket: its life, and what every request goes through.

A request is refused or read whole before its handler is called. Each error becomes an answer. The
server runs in the daemon's loop, beside the traffic, and no client may disturb that: see
`pktlb.control.connection` for the limits.
"""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from pktlb.config.config import Config
from pktlb.control.connection import Connection, Connections
from pktlb.control.listener import Listener, adopt, listen
from pktlb.control.operator import Operator
from pktlb.control.peers import Rights, peer_of
from pktlb.control.place import socket_path
from pktlb.control.refusal import ForbiddenError, RefusedError
from pktlb.control.request import CONNECTIONS, MAX_BODY, OPERATOR, connection_of, read_body
from pktlb.control.routes.all import ROUTES
from pktlb.control.routes.events import LISTENERS
from pktlb.control.routes.route import Handler
from pktlb.errors import ConfigError, PktlbError

log: Final = logging.getLogger(__name__)

MAX_LINE: Final = 8190
MAX_HEADERS: Final = 64
_FAREWELL_S: Final = 2.0
"For requests that are being worked on when the server ends."
_LOOK_S: Final = 0.005
"Between two looks at whether all answers are sent."
_REST_S: Final = 0.2
"Without accepting, after the process has run out of descriptors."
_SLOW: Final = "pktlb.config.document"
"""The module that checks objects of requests takes long to load. It is loaded after the start of
the traffic, and before a request needs it."""
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\n\r\n"
    b'{"error": "too many connections", "errors": ["too many connections"]}\n'
)
_LIMITS: Final = {route.handler: route.max_body for route in ROUTES}


def _logger() -> logging.Logger:
    """The log of aiohttp without mistakes of clients, which are told to the clients."""
    logger = logging.getLogger(f"{__name__}.http")
    logger.addFilter(_is_ours)
    return logger


def _is_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


@asynccontextmanager
async def serving(
    operator: Operator, config: Config, fd: int | None = None
) -> AsyncIterator["Server"]:
    """Answer requests at the control socket until the end of the `async with` block. `fd` is a
    listening socket that an earlier process hands over. Raises `ConfigError` or `KernelError`."""
    rights = Rights(config.control_group)
    path = socket_path(config.name, config.control)
    listener = listen(path, rights.gid) if fd is None else adopt(fd, path)
    server = Server(operator, listener, rights)
    try:
        await server.start()
        yield server
    finally:
        await server.end()


class Server:
    """A running server."""

    def __init__(self, operator: Operator, listener: Listener, rights: Rights) -> None:
        self.connections: Final = Connections()
        app = web.Application(middlewares=[self._guard])
        app[OPERATOR] = operator
        app[CONNECTIONS] = self.connections
        app[LISTENERS] = set()
        for route in ROUTES:
            app.router.add_route(route.method, route.path, route.handler)
        self._runner: Final = web.AppRunner(app, shutdown_timeout=_FAREWELL_S)
        self._http: Final[dict[str, Any]] = {
            "access_log": None, "auto_decompress": False, "lingering_time": 1.0,
            "max_line_size": MAX_LINE, "max_field_size": MAX_LINE, "max_headers": MAX_HEADERS,
            "logger": _logger(),
        }  # fmt: skip
        self._listener: Final = listener
        self._rights: Final = rights
        self._taking: Final[set[asyncio.Task[None]]] = set()
        self._rest: asyncio.TimerHandle | None = None
        self._warming: asyncio.Task[object]
        self._is_handed_over = False

    @property
    def path(self) -> str:
        return self._listener.path

    def fileno(self) -> int:
        """The listening socket."""
        return self._listener.socket.fileno()

    async def start(self) -> None:
        await self._runner.setup()
        self.take_back()
        self._warming = asyncio.create_task(asyncio.to_thread(import_module, _SLOW))

    def hand_over(self) -> int:
        """Accept no more connections, and leave the file in place; the listening socket, for the
        next process."""
        self._is_handed_over = True
        self._stop()
        return self.fileno()

    async def fall_silent(self, most_s: float) -> None:
        """Accept no more connections, and wait until all requests are answered, for `most_s` at the
        most. Listeners of events are not waited for."""
        self.hand_over()
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                while any(each.is_owed_an_answer for each in self.connections):
                    await asyncio.sleep(_LOOK_S)

    def take_back(self) -> None:
        """Accept connections, or accept them again."""
        self._is_handed_over = False
        asyncio.get_running_loop().add_reader(self.fileno(), self._accept)

    async def end(self) -> None:
        """Finish the requests that are being worked on, and close everything."""
        if not self._is_handed_over:
            self._listener.remove()
        self._stop()
        for connection in self.connections:
            connection.leave()
        await self._warming
        await self._runner.cleanup()
        self._listener.socket.close()

    def _stop(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.fileno())
        if self._rest:
            self._rest.cancel()

    def _accept(self) -> None:
        """Accept one connection in each turn of the loop, so that it holds up nothing else."""
        try:
            sock, _ = self._listener.socket.accept()
        except BlockingIOError:
            return  # another process has it, or the client is gone
        except OSError as error:
            log.error("control socket: %s", error.strerror)
            self._stop()
            self._rest = asyncio.get_running_loop().call_later(_REST_S, self.take_back)
            return
        sock.setblocking(False)
        if not self.connections.make_room():
            with sock, suppress(OSError):
                sock.send(_FULL)
            return
        task = asyncio.create_task(self._take(sock))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, sock: socket.socket) -> None:
        manager, loop = self._runner.server, asyncio.get_running_loop()
        assert manager is not None, "the runner is set up"
        try:
            http = _Http(manager, loop=loop, **self._http)
            connection = Connection(http, peer_of(sock), self.connections)
            await loop.connect_accepted_socket(lambda: connection, sock)
        except OSError:
            sock.close()  # the client is gone already

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = connection_of(request)
        connection.hear()
        try:
            response = await self._answer(request, connection)
        except Exception as error:
            response = _error(error)
        if not response.prepared:
            response.force_close()
        connection.answer()
        return response

    async def _answer(self, request: web.Request, connection: Connection) -> web.StreamResponse:
        handler: Handler = request.match_info.handler
        if request.method not in ("GET", "HEAD") and not self._rights.may_change(connection.peer):
            raise ForbiddenError("this user may look, but not change anything (see control_group)")
        connection.complete(await read_body(request, _LIMITS.get(handler, MAX_BODY)))
        return await handler(request)


class _Http(web.RequestHandler):
    """Speaks HTTP. Something that is no HTTP gets an answer in the form of all answers."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:  # fmt: skip
        super().handle_error(request, status, exc, message)  # which logs it
        # Behind the colon, aiohttp quotes what the client has sent.
        what, *_ = (message or HTTPStatus(status).phrase).partition(":")
        response = _refusal(status, [f"HTTP: {what.strip()}"])
        response.force_close()
        return response


def _error(error: Exception) -> web.Response:
    """The answer to a request that has raised an error."""
    headers: dict[str, str] = {}
    match error:
        case RefusedError():
            status, problems = error.status, error.problems
        case ConfigError():
            status, problems = 400, error.lines
        case web.HTTPException():
            status, problems = error.status, (error.reason,)
            headers = {key: error.headers[key] for key in ("Allow",) if key in error.headers}
        case PktlbError() | OSError() | MemoryError():
            status, problems = 503, (str(error) or "no memory",)
        case _:
            log.error("control socket: a request failed", exc_info=error)
            status, problems = 500, ("an error of pktlb itself, see its log",)
    return _refusal(status, problems, headers)


def _refusal(
    status: int, problems: Sequence[str], headers: Mapping[str, str] = MappingProxyType({})
) -> web.Response:
    line = problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
    body = json.dumps({"error": line, "errors": list(problems)}) + "\n"
    return web.Response(text=body, status=status, headers=headers, content_type="application/json")
