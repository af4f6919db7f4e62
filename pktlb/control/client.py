"""The other end of the control socket: requests of commands, with the standard library alone."""

import http.client
import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote, urlencode

from pktlb.errors import ConfigError, PktlbError

TIMEOUT_S: Final = 60.0
_MAX_LINE: Final = 1 << 20


class DaemonError(PktlbError):
    """The balancer does not answer, or refuses."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status: Final = status
        "The status of HTTP; 0: there is no answer."


class RejectedError(ConfigError):
    """The balancer does not understand a request. `lines` has all that is wrong with it."""

    def __init__(self, problems: tuple[str, ...], status: int) -> None:
        super().__init__(problems[0])
        self.status: Final = status
        self.problems = problems

    @property
    def lines(self) -> tuple[str, ...]:
        return self.problems


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path: Final = path
        self._timeout_s: Final = timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(self._path)


class Client:
    """Asks the balancer at a control socket."""

    def __init__(self, path: str) -> None:
        self.path: Final = path

    def get(self, *path: str, **query: object) -> Any:
        return self.ask("GET", path, query)

    def ask(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, object] | None = None,
        body: object = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Any:
        """Send a request; the JSON value of the answer, or its text if it is no JSON. Parts of the
        path may be any text. A value None of the query is left out. A body that is no text is sent
        as JSON. Raises `DaemonError` or `RejectedError`."""
        connection = _Connection(self.path, timeout_s)
        try:
            response = self._send(connection, method, path, query or {}, body)
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error) from error
        finally:
            connection.close()
        return _understood(response, raw)

    def follow(self, *path: str) -> Iterator[Any]:
        """The JSON values of an answer without an end, a line each. Raises `DaemonError`."""
        connection = _Connection(self.path, None)
        try:
            response = self._send(connection, "GET", path, {}, None)
            if response.status != http.client.OK:
                _understood(response, response.read())
            while line := response.readline(_MAX_LINE):
                yield _json(line)
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error) from error
        finally:
            connection.close()

    def _send(
        self,
        connection: _Connection,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, object],
        body: object,
    ) -> http.client.HTTPResponse:
        target = "/" + "/".join(quote(part, safe=":[]") for part in ("v1", *path))
        given = {name: _word(value) for name, value in query.items() if value is not None}
        if given:
            target += "?" + urlencode(given)
        if body is not None and not isinstance(body, str):
            body = json.dumps(body)
        connection.connect()
        with suppress(BrokenPipeError):  # pktlb may answer before it has read everything
            connection.request(method, target, None if body is None else str(body).encode())
        return connection.getresponse()

    def _failed(self, error: Exception) -> DaemonError:
        return DaemonError(_explain(self.path, error))


def _explain(path: str, error: Exception) -> str:
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return f"no pktlb runs here: {path} does not answer (see --name and PKTLB_SOCKET)"
    if isinstance(error, PermissionError):
        owner = _owner(path)
        return f"{path}: permission denied (needs root{owner})"
    if isinstance(error, TimeoutError):
        return f"{path}: pktlb did not answer within {TIMEOUT_S:.0f} s"
    if isinstance(error, OSError) and error.errno:
        return f"{path}: {os.strerror(error.errno)}"
    return f"{path}: not the answer of a pktlb"


def _owner(path: str) -> str:
    """The group that may connect, as a part of a sentence; "" where it is the group of root."""
    import grp  # noqa: PLC0415 - hardly ever needed

    try:
        found = os.stat(path)
        if found.st_gid and stat.S_ISSOCK(found.st_mode):
            return f", or to be in the group {grp.getgrgid(found.st_gid).gr_name}"
    except (OSError, KeyError):
        pass
    return ""


def _word(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _understood(response: http.client.HTTPResponse, raw: bytes) -> Any:
    is_json = "json" in (response.getheader("Content-Type") or "")
    if response.status == http.client.OK:
        return _json(raw) if is_json else raw.decode(errors="replace")
    problems: tuple[str, ...] = ()
    if is_json:
        answer = _json(raw)
        listed = answer.get("errors") if isinstance(answer, dict) else None
        problems = tuple(map(str, listed)) if isinstance(listed, list) else ()
    problems = problems or (f"pktlb answers {response.status} {response.reason}",)
    if response.status in (http.client.BAD_REQUEST, http.client.REQUEST_ENTITY_TOO_LARGE):
        raise RejectedError(problems, response.status)
    raise DaemonError(problems[0], response.status)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise DaemonError("what answers is no pktlb: expected JSON") from error
