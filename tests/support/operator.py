"""An operator without a balancer: it keeps a configuration and a list of flows."""

import asyncio
from collections.abc import AsyncIterator, Callable

from pktlb.config import file
from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.control import edits
from pktlb.control.events import Events
from pktlb.control.operator import BackendStatus, Counts, Event, FlowView, Removal, ServiceStatus
from pktlb.model import Endpoint, Mode, OnRemove, Reason, Scheduler, Vip
from pktlb.plan.change import Change, difference, said


def packed(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


A = Backend(Endpoint(packed("10.0.2.11"), 8080), 3)
B = Backend(Endpoint(packed("10.0.2.12"), 8080))
WEB = Service(Vip(packed("10.0.1.100"), 80, 80, (6,)), Mode.NAT, Scheduler.LC, (A, B), name="web")
DNS = Service(
    Vip(packed("10.0.1.100"), 53, 53, (17,)), Mode.NAT, Scheduler.RR,
    (Backend(Endpoint(packed("10.0.2.13"), 53)),),
)  # fmt: skip
CONFIG = Config((WEB, DNS))


def flow(last: int, idle_s: float = 1.5) -> FlowView:
    client = Endpoint(packed("198.51.100.0")[:3] + bytes([last]), 40000 + last)
    return FlowView(
        6, client, Endpoint(WEB.vip.address, 80), "web", (A, B)[last % 2].endpoint, Mode.NAT,
        "established", idle_s, client, WEB.vip,
    )  # fmt: skip


class FakeOperator:
    """Implements the protocol `Operator` without a balancer."""

    def __init__(self, config: Config = CONFIG, file: Config | None = None) -> None:
        self._config = config
        self.file = file or config
        self.changing = asyncio.Lock()
        self.events = Events()
        self.table = [flow(last, 1.5 * last) for last in range(1, 6)]
        self.forced: list[bool] = []
        "Of each plan, and of each change."
        self.zeroed = 0
        self.restarted = 0
        self.removing: list[tuple[str, Endpoint]] = []
        self.was_cancelled = asyncio.Event()
        self.idle = asyncio.Event()
        "Set when drained backends have no flow any more."
        self.idle.set()

    @property
    def config(self) -> Config:
        return self._config

    def status(self) -> list[ServiceStatus]:
        return [
            ServiceStatus(
                service,
                tuple(
                    BackendStatus(
                        backend, "drained" if backend.drain else "up", float(backend.weight),
                        2, 1, 40, 500, 61000, 700, 8100000,
                    )
                    for backend in service.backends
                ),
            )
            for service in self._config.services
        ]  # fmt: skip

    def counts(self) -> Counts:
        reasons = {Reason.OPENED: 40, Reason.FORWARDED: 460, Reason.NO_BACKEND: 2}
        trouble = {f"NO_BACKEND: {Reason.NO_BACKEND.sentence}": 2}
        uptime_s = 0.0 if self.restarted else 3661.25
        return Counts(
            len(self.table),
            reasons,
            trouble,
            "native",
            2,
            ("wan", "lan"),
            uptime_s,
            0,
            262144,
            ("CAP_NET_ADMIN", "CAP_NET_RAW"),
        )

    async def plan(
        self, wanted: Config, on_remove: OnRemove | None = None, force: bool = False
    ) -> Change:
        self.forced.append(force)
        items = difference(self._config, wanted)
        moved = int(any(item.action == "remove" for item in items))
        return Change(said(items), items, len(self.table), moved, 0, moved / 5)

    async def apply(
        self, wanted: Config, on_remove: OnRemove | None = None, force: bool = False
    ) -> Change:
        assert self.changing.locked()
        made = await self.plan(wanted, on_remove, force)
        await asyncio.sleep(0)
        self._config = wanted
        for item, text in zip(made.items, made.lines, strict=True):
            self.events.publish("change", text, action=item.action, what=item.what,
                                service=item.service, backend=item.backend)  # fmt: skip
        return made

    async def reload(self, force: bool = False) -> Change:
        return await self.apply(self.file, force=force)

    async def read_file(self, text: str | None) -> Config:
        if text is None:
            return self.file
        return file.read(text, "-")

    async def flows(
        self, select: Callable[[FlowView], bool], limit: int
    ) -> tuple[list[FlowView], int]:
        found = [each for each in self.table if select(each)]
        return found[:limit], len(found)

    async def kill(self, select: Callable[[FlowView], bool]) -> int:
        before = len(self.table)
        self.table = [each for each in self.table if not select(each)]
        return before - len(self.table)

    async def remove_when_idle(
        self, service: str, backend: Endpoint, within_s: float | None,
        on_remove: OnRemove | None = None,
    ) -> Removal:  # fmt: skip
        self.removing.append((service, backend))
        try:
            async with asyncio.timeout(within_s):
                await self.idle.wait()
        except TimeoutError:
            return Removal(3, within_s or 0)
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise
        async with self.changing:
            left = [
                edits.without_backend(each, Backend(backend)) if str(each.vip) == service else each
                for each in self._config.services
            ]
            await self.apply(edits.with_changed(self._config, left))
        return Removal(0, 0.25)

    async def restart(self, dry_run: bool) -> Change:
        self.restarted += not dry_run
        return await self.plan(self.file)

    def zero(self) -> None:
        self.zeroed += 1

    def subscribe(self) -> AsyncIterator[Event]:
        return self.events.subscribe()
