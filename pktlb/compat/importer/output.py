"""Writes a draft as the text of a configuration file."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from pktlb.compat.importer.notes import Draft, Note, Place, ServiceDraft
from pktlb.config.bounds import MAX_SERVICES
from pktlb.config.config import Config
from pktlb.config.conflicts import conflicts, label
from pktlb.config.file import service_of, write
from pktlb.config.problem import Problem
from pktlb.config.service import Service
from pktlb.config.toml import HEADER
from pktlb.errors import ConfigError
from pktlb.model import Timeouts

_ROUNDS: Final = 8
"So often contradictions are looked for: without one service, another may contradict nothing."
_Made = list[tuple[Place, Service]]


def text_of(draft: Draft, source: str) -> str:
    """The draft as TOML, with the notes as a comment at the end. Adds notes on services that cannot
    be in one configuration, and sorts all by file and line."""
    config = _config(draft)
    files = {note.place.file: None for note in draft.notes}
    order = {file: rank for rank, file in enumerate(files)}
    draft.notes.sort(key=lambda note: (order[note.place.file], note.place.line))
    lines = [f"# Made from {source} by `pktlb import`.", "", write(config).rstrip()]
    if draft.notes:
        lines += ["", "# What could not be carried over:"]
        for note in draft.notes:
            lines += _comment(note)
    return "\n".join(map(_printable, lines)) + "\n"


def _config(draft: Draft) -> Config:
    """The services that do not contradict each other; the others are noted."""
    made = [(each.place, service) for each in draft.services for service in _services(each, draft)]
    timeouts = Timeouts(**{name: float(value) for name, value in draft.timeouts.items()})
    for _ in range(_ROUNDS):
        config = Config(tuple(service for _, service in made), timeouts=timeouts)
        if not (found := {problem.path: problem for problem in conflicts(config)}):
            return config
        made = _without(made, config, found.values(), draft)
    return Config((), timeouts=timeouts)


def _without(
    made: _Made, config: Config, problems: Iterable[Problem], draft: Draft
) -> _Made:  # fmt: skip
    """What is left without the services and backends of the problems, which are noted."""
    services: set[int] = set()
    backends: dict[int, set[int]] = {}
    for problem in problems:
        match problem.path:
            case ("service", int(at), "backend", int(place), *_):
                backends.setdefault(at, set()).add(place)
            case ("service", int(at), *_):
                services.add(at)
            case _:
                services |= {*range(MAX_SERVICES, len(made))}
                continue
        origin, service = made[at]
        lost = [] if at in backends else write(Config((service,))).removeprefix(HEADER).split("\n")
        text = f"{label(config, problem.path)}: {problem.what}; left out"
        draft.note(origin, text, tuple(filter(None, lost)))
    return [
        (place, _less(service, backends.get(at, set())))
        for at, (place, service) in enumerate(made)
        if at not in services
    ]


def _less(service: Service, places: set[int]) -> Service:
    kept = [each for at, each in enumerate(service.backends) if at not in places]
    return replace(service, backends=tuple(kept))


def _services(each: ServiceDraft, draft: Draft) -> Sequence[Service]:
    """The services of a draft, one a VIP. Backends that are wrong are left out and noted."""
    backends = [
        (place, {"mode": each.keys["mode"], **backend}) for place, backend in _weighed(each, draft)
    ]
    keys = _with_mode(each.keys, [backend for _, backend in backends])
    try:
        return service_of({**keys, "backend": _own_modes(keys, backends)})
    except ConfigError:
        kept: list[tuple[Place, dict[str, Any]]] = []
        for backend in backends:
            try:
                service_of({**keys, "backend": _own_modes(keys, [backend])})
                kept.append(backend)
            except ConfigError as error:
                text = f"{backend[1]['address']}: left out: {error}"
                draft.note(backend[0], text, _lines(backend[1]))
    try:
        return service_of({**keys, "backend": _own_modes(keys, kept)})
    except ConfigError as error:
        draft.note(each.place, f"{_called(keys['vip'])}: left out: {error}", _lines(keys))
        return ()


def _called(vips: str | list[str]) -> str:
    """The name of a service for people: its first VIP."""
    if isinstance(vips, str):
        return vips
    return f"{vips[0]} (and {len(vips) - 1} more)"


def _lines(keys: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{name} = {json.dumps(value)}" for name, value in keys.items())


def _weighed(each: ServiceDraft, draft: Draft) -> list[tuple[Place, dict[str, Any]]]:
    """The backends of a service. rr and lc of IPVS use no weight but 0, and pktlb's do: all others
    become 1."""
    weights = {backend.get("weight", 1) for _, backend in each.backends} - {0}
    if each.by_weight or len(weights) < 2:
        return each.backends
    text = "the scheduler went by no weights, pktlb's does: they are 1 now"
    draft.note(each.place, text)
    return [
        (place, {**backend, "weight": min(1, backend.get("weight", 1))})
        for place, backend in each.backends
    ]


def _with_mode(keys: dict[str, Any], backends: list[dict[str, Any]]) -> dict[str, Any]:
    """The keys of a service, with the mode that most of its backends have."""
    modes = Counter(backend["mode"] for backend in backends)
    return {**keys, "mode": modes.most_common(1)[0][0]} if modes else keys


def _own_modes(
    keys: dict[str, Any], backends: list[tuple[Place, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The backends; each has a mode only if it is not that of the service."""
    return [
        {name: value for name, value in backend.items() if (name, value) != ("mode", keys["mode"])}
        for _, backend in backends
    ]


def _comment(note: Note) -> Iterator[str]:
    yield f"# {note.place}: {note.text}"
    for line in note.lost:
        yield f"#     {line}"


def _printable(line: str) -> str:
    """The line without control characters, which a comment of TOML must not have."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in line)
