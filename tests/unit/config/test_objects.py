"""Services and backends as objects of the API: made, shown, and changed key by key."""

from dataclasses import replace
from time import process_time
from typing import Any

import pytest

from pktlb.config.config import Config
from pktlb.config.conflicts import check_together
from pktlb.config.file import (
    backend_object,
    backend_of,
    changed_backend,
    changed_service,
    read,
    service_object,
    service_of,
    write,
)
from pktlb.config.service import Service
from pktlb.errors import FileError
from pktlb.model import Mode, Scheduler

WEB = {"vip": "203.0.113.10:80", "mode": "nat", "backend": [{"address": "10.0.2.11:8080"}]}
SNAT = Config((), snat=(bytes([10, 0, 2, 200]),))


def web(**keys: Any) -> Service:
    (service,) = service_of(WEB | keys)
    return service


def refusal(error: pytest.ExceptionInfo[FileError]) -> tuple[str, ...]:
    return error.value.problems


def test_what_is_shown_makes_the_same_again() -> None:
    keys = {
        "name": "web", "vip": "203.0.113.10:80/tcp", "mode": "nat", "scheduler": "hash",
        "hash": "source/24/64", "pick_up": False, "persist": 3, "persist_prefix4": 24,
        "persist_prefix6": 64, "slow_start": 9, "on_remove": "keep",
        "backend": [
            {"address": "10.0.2.11:8080", "weight": 0, "name": "a", "mode": "nat", "drain": True,
             "max_connections": 9, "resume_connections": 8},
        ],
    }  # fmt: skip
    (service,) = service_of(keys)
    assert service_object(service) == keys
    assert backend_object(service.backends[0]) == keys["backend"][0]  # type: ignore[index]
    assert backend_of(keys["backend"][0], service) == service.backends[0]  # type: ignore[index]


def test_one_object_can_be_many_services_or_have_no_backends() -> None:
    both = service_of({"vip": ["203.0.113.10:80", "203.0.113.10:443"], "mode": "dsr"})
    assert [service.vip.low for service in both] == [80, 443]
    assert not any(service.backends for service in both)


@pytest.mark.parametrize(
    ("obj", "lines"),
    [
        (3, ("expected a table, got 3",)),
        (WEB | {"moed": "nat", "backend": [{"address": "10.0.2.11", "weight": -1}]}, (
            "backend[0].weight: expected a weight in 0..65535, got -1",
            "moed: unknown key, got 'nat' (did you mean mode?)")),
        (WEB | {"mode": "dsr"}, (
            "backend[0].address: expected the port of the VIP, 80: mode dsr does not rewrite "
            "ports, got 8080",)),
        (WEB | {"\ud800": 1}, ("expected keys that are text, got '\\ud800'",)),
        (WEB | {"persist": None}, ("persist: expected seconds in 0..1000000, got null",)),
        ({}, ("vip: expected what clients dial, such as 203.0.113.10:80, got nothing",
              "mode: expected nat, dsr or tunnel, got nothing")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_object_is_told_by_its_path(obj: object, lines: tuple[str]) -> None:
    with pytest.raises(FileError) as error:
        service_of(obj)
    assert refusal(error) == lines


def test_a_backend_is_checked_against_its_service() -> None:
    tunnel = web(backend=[], mode="tunnel")
    assert backend_of({"address": "2001:db8::1"}, tunnel).endpoint.port == 80
    assert backend_of({"address": "10.0.2.1:81", "mode": "nat"}, tunnel).mode is Mode.NAT
    for obj, line in (
        ({"address": "10.0.2.1:81"}, "address: expected the port of the VIP, 80: mode tunnel"),
        ({"address": "10.0.2.1", "x": 1}, "x: unknown key, got 1"),
        ([], "expected a table, got a list"),
    ):
        with pytest.raises(FileError) as error:
            backend_of(obj, tunnel)
        assert refusal(error)[0].startswith(line)


def test_a_change_is_of_the_keys_that_are_named() -> None:
    service = web(scheduler="hash", hash="source/24", persist=9, name="web")
    changed = changed_service(service, {"persist": 5, "name": None, "on_remove": "drop"})
    assert (changed.persist_s, changed.name, changed.on_remove.value) == (5, "", "drop")
    assert (changed.hash_on, changed.backends) == (service.hash_on, service.backends)
    assert changed_service(service, {}) == service
    other = changed_service(service, {"scheduler": "lc"})
    assert (other.scheduler, other.pick_up) == (Scheduler.LC, False)
    assert other.hash_on == web().hash_on


def test_a_changed_backend_keeps_what_is_not_named() -> None:
    service = web(backend=[{"address": "10.0.2.11", "max_connections": 9, "resume_connections": 5}])
    (backend,) = service.backends
    changed = changed_backend(backend, service, {"weight": 3, "drain": True})
    assert changed == replace(backend, weight=3, drain=True)
    assert changed_backend(changed, service, {"weight": None, "drain": None}) == backend
    assert changed_backend(backend, service, {"max_connections": 0}).resume_connections == 0


def test_what_a_thing_is_known_by_cannot_be_changed() -> None:
    service = web()
    for change in ({"vip": "203.0.113.10:81"}, {"vip": ["203.0.113.10:80", "203.0.113.11:80"]}):
        with pytest.raises(FileError, match=r"vip: expected 203.0.113.10:80/tcp, for a service"):
            changed_service(service, change)
    assert changed_service(service, {"vip": "203.0.113.10:80"}) == service
    with pytest.raises(FileError, match=r"address: expected 10.0.2.11:8080, for a backend"):
        changed_backend(service.backends[0], service, {"address": "10.0.2.11:81"})
    with pytest.raises(FileError, match="expected an object, got 3"):
        changed_service(service, 3)


def test_snat_decides_what_is_picked_up_unasked() -> None:
    (service,) = service_of(WEB | {"scheduler": "source"}, SNAT)
    assert not service.pick_up
    assert "pick_up" not in service_object(service, SNAT)
    unaware = web(scheduler="source")
    assert unaware.pick_up
    together = check_together(replace(SNAT, services=(unaware,)))
    assert together.services == (service,)


def test_what_contradicts_itself_is_told_by_the_names_of_things() -> None:
    one, two = web(name="web"), web(backend=[{"address": "203.0.113.10"}])
    with pytest.raises(FileError) as error:
        check_together(Config((one, two)))
    assert refusal(error) == (
        "service 203.0.113.10:80/tcp: vip: given twice, got 203.0.113.10:80/tcp",
        "service 203.0.113.10:80/tcp: backend 203.0.113.10:80: address: expected an address that "
        "is not a VIP, got 203.0.113.10",
    )


def test_a_thousand_services_are_read_and_checked_in_no_time() -> None:
    config = Config(
        tuple(
            service
            for n in range(1000)
            for service in service_of(
                {
                    "vip": f"203.0.{n // 250}.{n % 250 + 1}:80",
                    "mode": "nat",
                    "backend": [{"address": f"10.{n // 250}.{n % 250}.{k + 1}"} for k in range(20)],
                }
            )
        )
    )
    text = write(config)
    began = process_time()
    again = read(text, "f")
    took = process_time() - began
    assert again == config
    assert took < 1.5
    (first, *rest) = config.services
    changed = replace(config, services=(replace(first, persist_s=9), *rest))
    began = process_time()
    check_together(changed, config)
    assert process_time() - began < 0.03


def test_services_that_were_there_before_are_not_looked_into_again() -> None:
    broken = replace(web(), one_packet=True)
    before = Config((broken,))
    with pytest.raises(FileError):
        check_together(before)
    after = Config((broken, web(vip="203.0.113.10:81")))
    assert check_together(after, before) == after
    with pytest.raises(FileError, match="given twice"):
        check_together(Config((broken, broken)), before)
