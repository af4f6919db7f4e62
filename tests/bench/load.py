"""What the client of a measurement does. Runs as a program of its own, inside the client's host."""

import json
import socket
import sys
import time
from itertools import cycle


def flood(address: str, port: int, flows: int, seconds: float) -> dict[str, int]:
    """Send 64-byte frames from `flows` ports as fast as it goes, for `seconds`."""
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)]
    for sender in senders:
        sender.connect((address, port))
    payload = bytes(64 - 14 - 20 - 8 - 4)
    until, sent = time.monotonic() + seconds, 0
    for sender in cycle(senders):
        try:
            sender.send(payload)
        except (ConnectionRefusedError, BlockingIOError):
            continue
        sent += 1
        if not sent & 0xFF and time.monotonic() >= until:
            return {"sent": sent}
    return {"sent": sent}


def ping(address: str, port: int, count: int) -> dict[str, float]:
    """One datagram at a time, each after the answer to the one before; microseconds."""
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(2)
    asker.connect((address, port))
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        asker.send(b"x")
        asker.recv(2048)
        times.append((time.perf_counter_ns() - start) / 1000)
    times.sort()
    return {"p50": times[count // 2], "p99": times[count * 99 // 100]}


def main(verb: str, address: str, port: str, count: str, seconds: str = "0") -> None:
    if verb == "flood":
        print(json.dumps(flood(address, int(port), int(count), float(seconds))))
    else:
        print(json.dumps(ping(address, int(port), int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
