"""A laboratory with many services: a thousand of twenty backends each, on two hundred machines."""

from collections.abc import Iterator
from typing import Final

from netns import nat
from netns.host import Host
from netns.lab import Lab

SERVICES: Final = 1000
BACKENDS: Final = 20
MACHINES: Final = 200
_FIRST_MACHINE: Final = 50
_FIRST_PORT: Final = 8000


def build(lab: Lab) -> Host:
    """Build the laboratory of NAT, in which host a is all machines; returns the balancer."""
    nat.build(lab)
    gw = lab.hosts["gw"]
    gw.address("wan", "10.1.0.254/16")
    for number in range(MACHINES):
        lab.hosts["a"].address("eth0", f"{machine(number)}/24")
    return gw


def machine(number: int) -> str:
    return f"10.0.2.{_FIRST_MACHINE + number % MACHINES}"


def vip(number: int) -> str:
    return f"10.1.{number // 250}.{number % 250 + 1}"


def port(number: int) -> int:
    """The port of a service's backends."""
    return _FIRST_PORT + number


def text() -> str:
    """The configuration file."""
    return "\n".join(line for number in range(SERVICES) for line in service(number))


def service(number: int) -> Iterator[str]:
    yield f'[[service]]\nname = "s{number}"\nvip = "{vip(number)}:80"'
    yield 'mode = "nat"\nscheduler = "lc"'
    for place in range(BACKENDS):
        address = f"{machine(7 * number + place)}:{port(number)}"
        yield f'[[service.backend]]\naddress = "{address}"\nweight = 3'
