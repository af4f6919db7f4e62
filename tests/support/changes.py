"""Chains of random changes of a configuration. Addresses are few, so that services share them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random
from typing import Final

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.host.machine import Address, Link, Machine, Route
from pktlb.model import Endpoint, Mode, Scheduler, Vip

WAN: Final = Link(2, "wan", bytes.fromhex("020000000201"), 1500, True)
LAN: Final = Link(3, "lan", bytes.fromhex("020000000202"), 1500, True)
_SOURCE: Final = {4: bytes([10, 0, 2, 1]), 16: bytes([0xFD, 2, *bytes(13), 1])}
_VIPS: Final = {
    4: [bytes([10, 0, 1, 100 + n]) for n in range(3)],
    16: [bytes([0xFD, 1, *bytes(13), 100])],
}
MACHINES: Final = {
    4: [bytes([10, 0, 2, 11 + n]) for n in range(4)],
    16: [bytes([0xFD, 2, *bytes(13), 11 + n]) for n in range(2)],
}
_ENDS: Final = (
    (80, 80, (6,)), (81, 81, (6,)), (80, 80, (17,)), (82, 82, (6, 17)), (90, 95, (6,)),
    (93, 99, (17,)), (0, 65535, ()), (0, 65535, (6,)), (0, 65535, (132,)),
)  # fmt: skip
MACHINE: Final = Machine(
    links={2: WAN, 3: LAN},
    addresses=[
        Address(bytes([10, 0, 1, 1]), 24, 2),
        Address(_SOURCE[4], 24, 3),
        Address(bytes([0xFD, 1, *bytes(13), 1]), 64, 2),
        Address(_SOURCE[16], 64, 3),
    ],
    routes={
        address: Route(3, None, _SOURCE[size], False, None)
        for size, addresses in MACHINES.items()
        for address in addresses
    },
    neighbours={},
)
_ALL: Final = [
    Vip(address, *ends) for size in _VIPS for address, ends in product(_VIPS[size], _ENDS)
]


def chain(random: Random, length: int) -> Iterator[Config]:
    """So many configurations, each a change of the one before; what did not change is the same
    object."""
    config = Config(())
    for _ in range(length):
        services = list(config.services)
        if not services or random.random() < 0.3:
            _appear(random, services)
        elif random.random() < 0.2:
            services.remove(random.choice(services))
        else:
            at = random.randrange(len(services))
            services[at] = _changed(random, services[at])
        config = replace(config, services=tuple(services))
        yield config


def _appear(random: Random, services: list[Service]) -> None:
    free = [vip for vip in _ALL if all(vip != service.vip for service in services)]
    mode, scheduler = random.choice(list(Mode)), random.choice([Scheduler.RR, Scheduler.LC])
    services.append(_changed(random, Service(random.choice(free), mode, scheduler, ())))


def _changed(random: Random, service: Service) -> Service:
    backends = list(service.backends)
    wish = random.choice(["add", "add", "remove", "weight", "drain", "mode"])
    if wish == "remove" and backends:
        backends.remove(random.choice(backends))
    elif wish == "mode" and backends:
        return replace(service, mode=random.choice(list(Mode)))
    elif wish == "add" or not backends:
        address = random.choice(MACHINES[len(service.vip.address)])
        new = Endpoint(address, random.choice([0, 80, 81, 82, 83]))
        if all(backend.endpoint != new for backend in backends):
            backends.append(Backend(new))
    else:
        at = random.randrange(len(backends))
        old = backends[at]
        backends[at] = (
            replace(old, weight=random.randrange(4))
            if wish == "weight"
            else replace(old, drain=not old.drain)
        )
    return replace(service, backends=tuple(backends))
