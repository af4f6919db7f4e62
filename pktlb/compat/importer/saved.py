"""Saved rules of ipvsadm (`ipvsadm -S`), or a script of its commands, as drafts of services."""

from collections.abc import Sequence
from typing import Final

from pktlb.compat.importer.mask import masked
from pktlb.compat.importer.notes import Draft, InputError, Place, ServiceDraft
from pktlb.compat.ipvsadm.actions import backend_keys, service_keys
from pktlb.compat.ipvsadm.program import MAX_RULES, read_rules
from pktlb.compat.ipvsadm.syntax import Command
from pktlb.compat.ipvsadm.words import DEFAULT_SCHEDULER, Keys, UnsupportedError, scheduler_keys
from pktlb.errors import ConfigError, FileError

_UNWEIGHTED: Final = ("rr", "lc")
_MAX_ERRORS: Final = 20


def read(lines: Sequence[str], name: str) -> Draft:
    """The draft of the table that the rules build, one after the other.

    A line that is wrong is left out and noted, as -R leaves it out. Raises `FileError` if all lines
    are wrong, `InputError` if there are too many.
    """
    if len(lines) > MAX_RULES + 1:
        raise InputError(Place(name, MAX_RULES + 1), f"expected {MAX_RULES} lines at most")
    rules = _Rules(name)
    errors: list[str] = []
    is_right = False
    for number, command in read_rules(lines):
        place, line = Place(name, number), masked(lines[number - 1].strip())
        try:
            if isinstance(command, ConfigError):
                raise command
            is_right = True
            rules.carry_out(place, command, line)
        except UnsupportedError as error:
            is_right = True
            rules.draft.note(place, str(error), (line,))
        except ConfigError as error:
            text = masked(str(error))
            errors.append(f"{place}: {text}")
            rules.draft.note(place, f"left out: {text}", (line,))
    if errors and not is_right:
        raise FileError(errors[:_MAX_ERRORS])
    rules.draft.services = list(rules.services.values())
    return rules.draft


class _Rules:
    """The table that the rules build."""

    def __init__(self, name: str) -> None:
        self.draft = Draft()
        self.services: dict[str, ServiceDraft] = {}
        self._name = name

    def carry_out(self, place: Place, command: Command, line: str) -> None:
        """Carry out a command; notes quote its `line`. Raises `ConfigError`."""
        service = command.service
        vip = "" if service is None else service.vip
        match command.verb:
            case "A" if vip in self.services:
                raise ConfigError(f"{vip} is there already")
            case "A":
                self.services[vip] = self._service(place, command)
            case "C":
                self.services.clear()
            case "set":
                self._timeouts(command)
            case "Z" | "start-daemon" | "stop-daemon":
                text = f"{command.verb}: has no place in a configuration"
                self.draft.note(place, text, (line,))
            case _ if vip not in self.services:
                text = f"left out, as there is no service {vip} before it"
                self.draft.note(place, text, (line,))
            case "E":
                backends = self.services[vip].backends
                self.services[vip] = self._service(place, command)
                self.services[vip].backends = backends
            case "D":
                del self.services[vip]
            case verb:
                self._server(place, verb, command, self.services[vip])

    def _service(self, place: Place, command: Command) -> ServiceDraft:
        """The draft of -A or -E. A scheduler or flag that pktlb does not have is noted and left
        out."""
        try:
            keys = service_keys(command)
        except UnsupportedError as error:
            self.draft.note(place, f"{error}; written without it")
            keys = service_keys(self._plain(command))
        scheduler = command.options.get("s", DEFAULT_SCHEDULER)
        return ServiceDraft(place, keys, by_weight=scheduler not in _UNWEIGHTED)

    def _plain(self, command: Command) -> Command:
        """The command without a scheduler or flags that pktlb does not have."""
        options = {name: text for name, text in command.options.items() if name not in ("b", "pe")}
        try:
            scheduler_keys(options.get("s", DEFAULT_SCHEDULER))
        except UnsupportedError:
            options["s"] = DEFAULT_SCHEDULER
        return Command(command.verb, command.service, command.server, options)

    def _server(self, place: Place, verb: str, command: Command, service: ServiceDraft) -> None:
        keys = _told(backend_keys(command))
        same = [
            position
            for position, (_, known) in enumerate(service.backends)
            if known["address"] == keys["address"]
        ]
        if verb == "a" and not same:
            service.backends.append((place, keys))
        elif verb == "e" and same:
            service.backends[same[0]] = (place, keys)
        elif verb == "d" and same:
            del service.backends[same[0]]
        else:
            there = "there already" if same else "not there"
            raise ConfigError(f"{keys['address']} is {there}")

    def _timeouts(self, command: Command) -> None:
        for name, text in zip(("tcp", "fin", "udp"), command.values, strict=True):
            if not (text.isascii() and text.isdigit() and len(text) < 8):
                raise ConfigError(f"--set {text}: expected a number of seconds")
            if int(text):
                self.draft.timeouts[name] = int(text)


def _told(keys: Keys) -> Keys:
    """The keys that are not the default."""
    return {name: value for name, value in keys.items() if value or name == "weight"}
