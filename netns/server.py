#!/usr/bin/env python3
"""A real server to balance: HTTP/1.1 with keep-alive, and UDP on the same port.

    server.py --name a --listen 0.0.0.0:8080        (both families: --listen [::]:8080)

    GET /              its name, and the addresses that it sees:  a 10.0.1.2:40312 -> 10.0.2.11:8080
    GET /bytes/N       N bytes, the same each time (see `pattern`)
    POST, PUT /upload  the SHA-256 of the body
    GET /slow/SECONDS  one byte at once, the rest when the time is over or the client hangs up
    UDP                its name, the client's address and port, then the client's own text

It needs the standard library only, so that it starts quickly. It prints `listening` when it serves,
and ends cleanly on SIGTERM.
"""

import argparse
import contextlib
import hashlib
import select
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

BLOCK: Final = 1 << 20
STOP_INTERVAL: Final = 0.02
"Seconds between two looks of the HTTP server at whether it shall stop."

BACKLOG: Final = 1024
LONGEST_DATAGRAM: Final = 65535

IP_PKTINFO: Final = 8
"linux/in.h; Python names it from 3.14 on."

MAPPED: Final = "::ffff:"
"An IPv4 address, as a socket of both families sees it."


def pattern() -> bytes:
    """One block of bytes without visible regularity; /bytes/N is this, over and over."""
    return hashlib.shake_256(b"pktlb").digest(BLOCK)


def blocks(size: int) -> Iterator[memoryview]:
    """The body of /bytes/`size`, in pieces."""
    block = memoryview(pattern())
    while size > 0:
        yield block[:size]
        size -= BLOCK


def sha256_of_bytes(size: int) -> str:
    """The SHA-256 (in hex) that a download of /bytes/`size` must have."""
    digest = hashlib.sha256()
    for block in blocks(size):
        digest.update(block)
    return digest.hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One HTTP connection."""

    server: "Server"
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # header and short body leave in one segment
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        match self.path.split("/"):
            case ["", page] if page[:1] in ("", "?"):
                self.answer(self.whereabouts())
            case ["", "bytes", size] if size.isdecimal():
                self.start_answer(int(size))
                for block in blocks(int(size)):
                    self.wfile.write(block)
            case ["", "slow", seconds] if seconds.isdecimal():
                self.answer_slowly(float(seconds))
            case _:
                self.send_error(HTTPStatus.NOT_FOUND)

    def do_PUT(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/upload":
            self.send_error(HTTPStatus.NOT_FOUND)
        elif not length.isdecimal():
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
        else:
            self.answer(self.read_body(int(length)))

    def do_POST(self) -> None:
        self.do_PUT()

    def handle_expect_100(self) -> bool:
        """Say at once that the body may come: the client waits a second for that."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def version_string(self) -> str:
        """The header `Server` of all answers: the name of this server."""
        return self.server.name

    def whereabouts(self) -> str:
        """The server's name, and the two ends of this connection as the server sees them."""
        here = self.connection.getsockname()
        return f"{self.server.name} {written(self.client_address)} -> {written(here)}"

    def read_body(self, left: int) -> str:
        """Take in a body; return its SHA-256."""
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(BLOCK))
        while left > 0 and (count := self.rfile.readinto1(buffer[:left])):
            digest.update(buffer[:count])
            left -= count
        return digest.hexdigest()

    def answer(self, line: str) -> None:
        """Answer with one line of text.

        A client that asks for `Connection: close` gets no length, and reads until the server
        closes. So a connection is over at both ends before the client opens the next one.
        """
        body = f"{line}\n".encode()
        self.start_answer(None if self.close_connection else len(body))
        self.wfile.write(body)

    def start_answer(self, length: int | None) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        if length is not None:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def answer_slowly(self, seconds: float) -> None:
        """Hold the connection. It becomes readable when the client hangs up."""
        self.start_answer(2)
        self.wfile.write(b".")
        self.wfile.flush()
        select.select([self.connection, self.server.stopping], [], [], seconds)
        self.wfile.write(b"\n")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """The HTTP server: a thread for each connection."""

    request_queue_size = BACKLOG
    daemon_threads = True
    block_on_close = False

    def __init__(self, name: str, listen: tuple[str, int]) -> None:
        self.name = name
        self.address_family = family(listen)
        self.stopping, self._stop = socket.socketpair()
        "`stopping` becomes readable when the server stops."
        super().__init__(listen, Handler)

    def server_bind(self) -> None:
        """Bind only: the parent class would ask for the host's name in the DNS."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        take_both_families(self.socket)
        self.socket.bind(self.server_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that hangs up in the middle."""

    def stop(self) -> None:
        self._stop.close()
        self.shutdown()
        self.server_close()


def echo_datagrams(name: str, udp: socket.socket) -> None:
    """Answer each datagram from the address that it was sent to.

    A server with several addresses has to ask for that address (PKTINFO), and name it with its
    answer: otherwise the kernel answers from the address of the interface, not from the VIP.
    """
    while True:
        data, control, _, client = udp.recvmsg(LONGEST_DATAGRAM, socket.CMSG_SPACE(20))
        level, kind, told = control[0]
        if level == socket.IPPROTO_IP:
            _, asked, _ = struct.unpack("=i4s4s", told)
            told = struct.pack("=i4s4s", 0, asked, bytes(4))
        else:
            told = told[:16] + bytes(4)  # the address, and no matter which interface
        start = f"{name} {written(client)} ".encode()
        with contextlib.suppress(OSError):  # port 0 cannot be answered
            udp.sendmsg([start, data], [(level, kind, told)], 0, client)


def open_udp(listen: tuple[str, int]) -> socket.socket:
    udp = socket.socket(family(listen), socket.SOCK_DGRAM)
    take_both_families(udp)
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    udp.bind(listen)
    return udp


def family(end: tuple[str, int]) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in end[0] else socket.AF_INET


def take_both_families(listening: socket.socket) -> None:
    """Let a socket on :: take IPv4 as well, by any settings of the machine."""
    if listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


def written(end: tuple[Any, ...]) -> str:
    """Address and port of an end, as people write them."""
    host, port = str(end[0]).removeprefix(MAPPED), end[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form ADDRESS:PORT")
    return host.strip("[]"), int(port)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", required=True, help="name to answer with")
    parser.add_argument("--listen", required=True, type=address, metavar="ADDRESS:PORT")
    arguments = parser.parse_args()

    endings = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)  # in every thread: sigwait takes them
    server = Server(arguments.name, arguments.listen)
    udp = open_udp(arguments.listen)
    threading.Thread(target=server.serve_forever, args=(STOP_INTERVAL,), daemon=True).start()
    threading.Thread(target=echo_datagrams, args=(arguments.name, udp), daemon=True).start()
    print("listening", flush=True)
    signal.sigwait(endings)
    server.stop()


if __name__ == "__main__":
    main()
