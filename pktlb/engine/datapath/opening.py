"""New flows: NAT must find ends for them that nobody else has."""

from typing import Final

from pktlb.engine.datapath.flow import Flow, FlowTable
from pktlb.engine.datapath.keys import EndpointKey, FlowKey, destination, flow_key, source
from pktlb.engine.datapath.packet import PORTED
from pktlb.engine.datapath.schedule import Chosen
from pktlb.engine.datapath.snat import SourcePorts
from pktlb.engine.datapath.tables import ServiceTable
from pktlb.model import Endpoint, Mode

_CLASH_TRIES: Final = 64


class Opening:
    """Makes flows; they are not in the table yet."""

    def __init__(self, flows: FlowTable, ports: SourcePorts) -> None:
        self._flows = flows
        self._ports = ports

    def flow(
        self,
        key: FlowKey,
        service: ServiceTable,
        chosen: Chosen,
        now: float,
        *,
        single: bool = False,
        parts: bool = False,
    ) -> Flow | None:
        """A flow to the backend that was `chosen`, or None where no source port is free towards it.

        A `single` one is found by its reply only; one of `parts` is for fragments only.
        """
        configured, tally, mode = chosen
        backend = _dialled(configured, key)
        if mode is not Mode.NAT:
            any = service.vip.any
            return Flow(key, None, mode, backend, tally, any=any, parts=parts)
        pool = None
        if not self._ports.addresses(len(backend.address)):
            client = self._unclaimed(key, backend, now)
        elif key[-1] in PORTED:
            pool = service.pool(configured)
            client = self._allotted(key, backend, pool, now)
        else:
            client = self._address_allotted(key, backend, now)
        if client is None:
            return None
        reverse = flow_key(key[-1], backend, client)
        return Flow(
            key, reverse, Mode.NAT, backend, tally, reply_only=single, parts=parts, pool=pool
        )

    def single(self, key: FlowKey, chosen: Chosen, now: float) -> Flow | None:
        """The flow of an earlier datagram from the same client to the same backend."""
        reply = flow_key(key[-1], _dialled(chosen.backend, key), source(key))
        flow = self._flows.find(reply, now)
        return flow if flow is not None and flow.key == key else None

    def _allotted(
        self, key: FlowKey, backend: Endpoint, pool: EndpointKey, now: float
    ) -> Endpoint | None:
        """A source endpoint from the pool.

        The pool knows only what it gave out: where a service is dialled at an address of the pool,
        the backend may be a client of its own service, and such a packet looks like a reply.
        """
        for _ in range(_CLASH_TRIES):
            client = self._ports.take(pool)
            if client is None or self._is_free(flow_key(key[-1], backend, client), key, now):
                return client
            self._ports.give_back(pool, client)
        return None

    def _address_allotted(self, key: FlowKey, backend: Endpoint, now: float) -> Endpoint | None:
        """Without ports, an address that nobody else has towards this backend."""
        for address in self._ports.addresses(len(backend.address))[:_CLASH_TRIES]:
            client = Endpoint(address, 0)
            if self._is_free(flow_key(key[-1], backend, client), key, now):
                return client
        return None

    def _unclaimed(self, key: FlowKey, backend: Endpoint, now: float) -> Endpoint | None:
        """The client as the backend may see it: itself, but for a port that is in use there.

        Two services with one backend: the same client port may dial both at the same time, and
        the backend must be able to tell them apart. So must we, when it replies.
        """
        client = source(key)
        for step in range(_CLASH_TRIES if key[-1] in PORTED else 1):
            port = client.port if not step else 1024 + (client.port + step * 997) % 64512
            seen_as = Endpoint(client.address, port)
            if self._is_free(flow_key(key[-1], backend, seen_as), key, now):
                return seen_as
        return None

    def _is_free(self, reply: FlowKey, key: FlowKey, now: float) -> bool:
        """Whether replies with this key would be taken for nothing else than replies to `key`."""
        return reply != key and self._flows.find(reply, now) is None


def _dialled(backend: Endpoint, key: FlowKey) -> Endpoint:
    """A backend without a port gets what was dialled."""
    return backend if backend.port else Endpoint(backend.address, destination(key).port)
