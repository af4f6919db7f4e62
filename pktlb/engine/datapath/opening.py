"""New flows, and for NAT the ends that the backend sees: no other flow may have the same ones.

Decides the client's address and port towards the backend. It neither chooses the backend nor puts
flows in the table.
"""

from typing import Final

from pktlb.engine.datapath.flow import Flow, FlowTable
from pktlb.engine.datapath.keys import EndpointKey, FlowKey, destination, flow_key, source
from pktlb.engine.datapath.packet import PORTED
from pktlb.engine.datapath.schedule import Chosen
from pktlb.engine.datapath.snat import SourcePorts
from pktlb.engine.datapath.tables import ServiceTable
from pktlb.model import Endpoint, Mode

_CLASH_TRIES: Final = 64
"Ends that are tried for one flow."


class Opening:
    """Makes flows, by what is in the flow table and which source ports are free."""

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
        """A flow to the `chosen` backend; None where no source port is free towards it.

        A `single` one is found by its reply only; one of `parts` is for fragments only.
        """
        there = _dialled(chosen, key)
        backend = there.backend
        if chosen.mode is not Mode.NAT:
            return Flow(key, None, there, any=service.vip.any, parts=parts)
        pool = None
        if not self._ports.addresses(len(backend.address)):
            client = self._unclaimed(key, backend, now)
        elif key[-1] in PORTED:
            pool = service.pool(chosen.backend)
            client = self._allotted(key, backend, pool, now)
        else:
            client = self._address_allotted(key, backend, now)
        if client is None:
            return None
        reverse = flow_key(key[-1], backend, client)
        return Flow(key, reverse, there, reply_only=single, parts=parts, pool=pool)

    def single(self, key: FlowKey, chosen: Chosen, now: float) -> Flow | None:
        """The NAT flow of an earlier single datagram from this client to this backend, if there is
        one."""
        reply = flow_key(key[-1], _dialled(chosen, key).backend, source(key))
        flow = self._flows.find(reply, now)
        return flow if flow is not None and flow.key == key else None

    def _allotted(
        self, key: FlowKey, backend: Endpoint, pool: EndpointKey, now: float
    ) -> Endpoint | None:
        """A source endpoint from the pool; None where none is free.

        An endpoint may be in use though the pool has not given it out: where a service is dialled
        at an address of the pool and a backend is a client of it, that client's packets have the
        key of a reply.
        """
        for _ in range(_CLASH_TRIES):
            client = self._ports.take(pool)
            if client is None or self._is_free(flow_key(key[-1], backend, client), key, now):
                return client
            self._ports.give_back(pool, client)
        return None

    def _address_allotted(self, key: FlowKey, backend: Endpoint, now: float) -> Endpoint | None:
        """For protocols without ports: an address of the pool that no other flow to this backend
        has."""
        for address in self._ports.addresses(len(backend.address))[:_CLASH_TRIES]:
            client = Endpoint(address, 0)
            if self._is_free(flow_key(key[-1], backend, client), key, now):
                return client
        return None

    def _unclaimed(self, key: FlowKey, backend: Endpoint, now: float) -> Endpoint | None:
        """The client's own address and port, with another port where that one is in use there.

        The same client port may dial two services with one backend at the same time. The backend
        must tell the two connections apart, and so must we when it replies.
        """
        client = source(key)
        for step in range(_CLASH_TRIES if key[-1] in PORTED else 1):
            port = client.port if not step else 1024 + (client.port + step * 997) % 64512
            seen_as = Endpoint(client.address, port)
            if self._is_free(flow_key(key[-1], backend, seen_as), key, now):
                return seen_as
        return None

    def _is_free(self, reply: FlowKey, key: FlowKey, now: float) -> bool:
        """Whether no other flow has the key `reply` that replies to `key` would have."""
        return reply != key and self._flows.find(reply, now) is None


def _dialled(chosen: Chosen, key: FlowKey) -> Chosen:
    """The same with the backend's port; where none is configured, with the port dialled."""
    backend, tally, mode = chosen
    if backend.port:
        return chosen
    return Chosen(Endpoint(backend.address, destination(key).port), tally, mode)
