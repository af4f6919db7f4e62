"""What a change is called, for people and programs."""

from dataclasses import replace

import pytest

from pktlb.config.config import Config
from pktlb.config.service import Backend, Service
from pktlb.model import Endpoint, HashFields, HashOn, Mode, Scheduler, Timeouts, Vip
from pktlb.plan.change import difference, said

WEB = Service(
    vip=Vip(bytes([10, 0, 1, 100]), 80, 80, (6,)),
    mode=Mode.NAT,
    scheduler=Scheduler.HASH,
    backends=(Backend(Endpoint(bytes([10, 0, 2, 11]), 80)),),
    name="web",
    hash_on=HashOn(HashFields.SOURCE, 24, 64),
)
OTHER = replace(WEB, vip=WEB.vip._replace(low=81, high=81))
PLAIN = Config((WEB,))

CHANGES = {
    "hash": (Config((replace(WEB, hash_on=HashOn(HashFields.SOURCE, 16, 64)),)),
             "service web: hash source/24/64 -> source/16/64"),
    "both directions": (
        Config((replace(WEB, hash_on=HashOn(HashFields.FIVE_TUPLE, symmetric=True)),)),
        "service web: hash source/24/64 -> 5-tuple,symmetric"),
    "persistence": (Config((replace(WEB, persist_s=300),)), "service web: persist 0 -> 300"),
    "drain": (Config((replace(WEB, backends=(replace(WEB.backends[0], drain=True),)),)),
              "service web, backend 10.0.2.11:80: drain false -> true"),
    "addresses": (replace(PLAIN, snat=(bytes([10, 0, 2, 1]), bytes([10, 0, 2, 2]))),
                  "balancer: snat none -> 10.0.2.1,10.0.2.2"),
    "timeouts": (replace(PLAIN, timeouts=replace(Timeouts(), tcp=5.0)),
                 "balancer: timeouts {} -> {}"),
    "one of two with a name": (Config((WEB, OTHER)),
                               "service web (10.0.1.100:81/tcp): added with 1 backend"),
}  # fmt: skip


@pytest.mark.parametrize(("after", "line"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_said_in_the_words_of_the_file(after: Config, line: str) -> None:
    lists = [",".join(f"{name}={getattr(each.timeouts, name):g}" for name in
                      Timeouts.__dataclass_fields__) for each in (PLAIN, after)]  # fmt: skip
    assert said(difference(PLAIN, after)) == (line.format(*lists),)
