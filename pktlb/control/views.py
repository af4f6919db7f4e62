"""The balancer's values as JSON. Existing keys stay as they are; new keys come at the end."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from pktlb.control.operator import BackendStatus, Counts, Event, FlowView, Removal, ServiceStatus
from pktlb.model import Reason, format_proto
from pktlb.plan.change import Change

Json = dict[str, Any]
"An object of JSON, by its keys."

VERSION: Final = 1
COUNTED: Final = (
    "active", "inactive", "connections", "packets_in", "bytes_in", "packets_out", "bytes_out",
)  # fmt: skip
"The counters of a backend; a service has their sums."


def status(services: Iterable[ServiceStatus], counts: Counts) -> Json:
    """The answer to `GET /v1/status`: the state of services and of the balancer."""
    return {
        "version": VERSION,
        "services": [_service(each) for each in services],
        "flows": counts.flows,
        "reasons": _reasons(counts),
        "engine": counts.engine,
        "workers": counts.workers,
        "interfaces": list(counts.interfaces),
        "uptime_s": round(counts.uptime_s, 3),
        "pins": counts.pins,
        "max_flows": counts.max_flows,
        "capabilities": list(counts.capabilities),
    }


def _service(status: ServiceStatus) -> Json:
    service = status.service
    return {
        "name": service.label,
        "vip": str(service.vip),
        "mode": service.mode.value,
        "scheduler": service.scheduler.value,
        "backends": [_backend(status, each) for each in status.backends],
        "persist": service.persist_s,
    }


def _backend(status: ServiceStatus, each: BackendStatus) -> Json:
    backend = each.backend
    return {
        "address": str(backend.endpoint),
        "weight": backend.weight,
        "state": each.state,
        **{key: getattr(each, key) for key in COUNTED},
        "name": backend.name,
        "mode": status.service.mode_of(backend).value,
        "weight_now": each.weight_now,
        "drain": backend.drain,
        "max_connections": backend.max_connections,
        "resume_connections": backend.resume_connections,
    }


def _reasons(counts: Counts) -> dict[str, int]:
    return {reason.name: counts.reasons.get(reason, 0) for reason in Reason}


def stats(services: Iterable[ServiceStatus], counts: Counts, now: float) -> Json:
    """The answer to `GET /v1/stats`: all counters; `now` is in seconds since the epoch."""
    listed = [_counted(each) for each in services]
    return {
        "version": VERSION,
        "time": now,
        "uptime_s": round(counts.uptime_s, 3),
        "totals": _sums(listed),
        "services": listed,
        "flows": counts.flows,
        "reasons": _reasons(counts),
        "trouble": dict(counts.trouble),
    }


def _counted(status: ServiceStatus) -> Json:
    backends = [
        {"address": str(each.backend.endpoint), **{key: getattr(each, key) for key in COUNTED}}
        for each in status.backends
    ]
    return {
        "name": status.service.label,
        "vip": str(status.service.vip),
        **_sums(backends),
        "backends": backends,
    }


def _sums(rows: Sequence[Json]) -> Json:
    return {key: sum(row[key] for row in rows) for key in COUNTED}


def change(made: Change, dry_run: bool) -> Json:
    """The answer to each request that changes the configuration: what changes."""
    return {
        "version": VERSION,
        "dry_run": dry_run,
        "lines": list(made.lines),
        "items": [
            {
                "action": item.action,
                "what": item.what,
                "service": item.service,
                "backend": item.backend,
                "detail": item.detail,
            }
            for item in made.items
        ],
        "flows_total": made.flows_total,
        "flows_moved": made.flows_moved,
        "flows_broken": made.flows_broken,
        "clients_share": made.clients_share,
        "restart": list(made.restart),
        "warnings": list(made.warnings),
    }


def flow(each: FlowView) -> Json:
    """One flow of a listing."""
    return {
        "proto": format_proto(each.proto),
        "client": str(each.client),
        "vip": str(each.vip),
        "service": each.service,
        "backend": str(each.backend),
        "mode": each.mode.value,
        "state": each.state,
        "idle_s": round(each.idle_s, 3),
        "seen_as": None if each.seen_as is None else str(each.seen_as),
    }


def flows(shown: Iterable[FlowView], total: int) -> Json:
    """The answer to `GET /v1/flows`: some of the selected flows, and the number of all of them."""
    return {"version": VERSION, "total": total, "flows": [flow(each) for each in shown]}


def event(each: Event) -> Json:
    """One line of the answer to `GET /v1/events`."""
    return {"time": each.time, "kind": each.kind, "text": each.text, "fields": dict(each.fields)}


def removal(done: Removal) -> Json:
    """The answer to the removal of a drained backend."""
    return {
        "version": VERSION,
        "dry_run": False,
        "flows_cut": done.flows_cut,
        "waited_s": round(done.waited_s, 3),
    }
