"""A balancer that only keeps its configuration: the part of the API that ipvsadm's commands use."""

import json
import tomllib
from collections.abc import Mapping
from typing import Any

from pktlb.compat.ipvsadm.address import read_end
from pktlb.config.text import parse_vip
from pktlb.control.client import DaemonError
from pktlb.model import Vip

Keys = dict[str, Any]


class FakeApi:
    """Services by their VIPs; `asked` has every request that changes something."""

    def __init__(self, *services: Keys, balancer: Keys | None = None) -> None:
        self.services = [{"backend": [], **service} for service in services]
        self.balancer = balancer or {}
        self.counters: dict[tuple[str, str], Keys] = {}
        self.flows: list[Keys] = []
        self.asked: list[tuple[str, str, object]] = []

    def ask(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, object] | None = None,
        body: object = None,
    ) -> Any:
        if method != "GET":
            self.asked.append((method, "/".join(path), body))
        match method, path:
            case "GET", ["config"]:
                return self._toml()
            case "GET", ["status"]:
                return self._status()
            case "GET", ["flows"]:
                return self._flows(query or {})
            case "POST", ["services"]:
                assert isinstance(body, dict)
                if any(_vip(service) == parse_vip(body["vip"]) for service in self.services):
                    raise DaemonError(f"service {body['vip']}: there already", 409)
                self.services.append({"backend": [], **body})
            case "POST", ["zero"]:
                self.counters.clear()
            case "PUT", ["config"]:
                self.balancer = tomllib.loads(str(body)).get("balancer", {})
            case _, ["services", vip, *rest]:
                self._service(method, self._find(vip), rest, body)
            case _:
                raise DaemonError("no such resource", 404)
        return {}

    def _flows(self, query: Mapping[str, object]) -> Keys:
        found = [
            flow
            for flow in self.flows
            if all(flow[name] == query.get(name, flow[name]) for name in ("vip", "proto"))
        ]
        return {"flows": found[: int(str(query["limit"]))], "total": len(found)}

    def _service(self, method: str, service: Keys, rest: list[str], body: Any) -> None:
        backends = service["backend"]
        same = [
            b for b in backends if b["address"] in (rest[1:] or [str((body or {}).get("address"))])
        ]
        match method, rest:
            case "PATCH", []:
                _merge(service, body)
            case "DELETE", []:
                self.services.remove(service)
            case "POST", ["backends"] if same:
                raise DaemonError("backend: there already", 409)
            case "POST", ["backends"]:
                backends.append(body)
            case _ if not same:
                raise DaemonError("no such backend", 404)
            case "PATCH", ["backends", _]:
                _merge(same[0], body)
            case "DELETE", ["backends", _]:
                backends.remove(same[0])

    def _find(self, text: str) -> Keys:
        for service in self.services:
            if _vip(service) == parse_vip(text):
                return service
        raise DaemonError(f"no service {text}", 404)

    def _toml(self) -> str:
        lines = ["[balancer]", *_pairs(self.balancer)]
        for service in self.services:
            lines += ["[[service]]", *_pairs(service)]
            for backend in service["backend"]:
                lines += ["[[service.backend]]", *_pairs(backend)]
        return "\n".join(lines)

    def _status(self) -> Keys:
        names = "active inactive connections packets_in bytes_in packets_out bytes_out"
        nothing = dict.fromkeys(names.split(), 0)
        return {
            "version": 1,
            "services": [
                {
                    "vip": str(_vip(service)),
                    "backends": [
                        {"address": address, **nothing}
                        | self.counters.get((str(_vip(service)), address), {})
                        for backend in service["backend"]
                        for address in [str(read_end(backend["address"], _vip(service).low))]
                    ],
                }
                for service in self.services
            ],
        }


def _vip(service: Keys) -> Vip:
    return parse_vip(service["vip"])


def _pairs(keys: Keys) -> list[str]:
    """Keys as lines of TOML, which writes numbers, strings, lists and truths as JSON does."""
    lines = []
    for name, value in keys.items():
        if isinstance(value, dict):
            lines += [f"{name}.{inner}" for inner in _pairs(value)]
        elif name != "backend" and value is not None:
            lines.append(f"{name} = {json.dumps(value)}")
    return lines


def _merge(keys: Keys, change: Keys) -> None:
    """Change some keys by RFC 7396: a null removes a key."""
    keys |= change
    for name in [name for name, value in keys.items() if value is None]:
        del keys[name]
