"""A balancer that was changed in small steps is as one that was started so."""

import json
from pathlib import Path
from random import Random

import pytest

from netns.host import Host
from netns.lab import Lab
from pktlb.host import guard
from pktlb.plan import fence
from pktlb.plan import placement as plan
from tests.support import many
from tests.support.changes import MACHINE, chain

CHANGED = 500


@pytest.mark.net
def test_one_of_a_thousand_services_is_changed(tmp_path: Path) -> None:
    """A service gets one backend, then one at another port, and is removed; another is added."""
    file = tmp_path / "pktlb.toml"
    file.write_text(many.text())
    with Lab("many") as lab:
        gw = many.build(lab)
        client, a = lab.hosts["client"], lab.hosts["a"]
        a.serve(many.port(CHANGED))
        a.serve(8080)
        process = gw.pktlb("run", "-c", str(file))
        assert f"services={many.SERVICES} backends={many.MACHINES}/" in process.stdout

        def get(vip: str) -> str:
            return client.run("curl", "-sf", "--max-time", "5", f"http://{vip}/").stdout

        first, other = f"{many.machine(0)}:{many.port(CHANGED)}", "10.0.2.11:8080"
        assert get(many.vip(CHANGED)).split()[-1].endswith(f":{many.port(CHANGED)}")
        gw.ask("service", "add", "new", "--vip", "10.1.9.9:80", "--mode", "nat",
               "--backend", first)  # fmt: skip
        assert get("10.1.9.9").split()[-1] == first
        gw.ask("backend", "add", "new", other)
        gw.ask("backend", "set", "new", first, "--weight", "0")
        assert get("10.1.9.9").split()[-1] == other
        gw.ask("backend", "remove", "new", first)
        gw.ask("service", "remove", f"s{CHANGED}")
        told = json.loads(gw.ask("status", "--json").stdout)["services"]
        states = [{each["state"] for each in service["backends"]} for service in told]
        assert states == [{"up"}] * (many.SERVICES - 1) + [{"up", "removed"}]
        gone = client.run(
            "curl", "-s", "--max-time", "5", f"http://{many.vip(CHANGED)}/", check=False
        )
        assert gone.returncode != 0
        assert process.stop() == 0


@pytest.mark.net
def test_a_guard_that_was_changed_in_steps_is_as_one_made_at_once() -> None:
    """The sets as nft lists them."""
    with Lab("guards") as lab:
        changed, anew = lab.host("changed"), lab.host("anew")
        for name in ("wan", "lan"):
            lab.link(changed, name, anew, name)
        before = None
        script = lab.directory / "script"
        for config in chain(Random(3), 40):
            now = fence.guard(config, plan.place(config, MACHINE))
            script.write_text(guard.render_change(before, now) if before else guard.render(now))
            changed.run("nft", "-f", str(script))
            before = now
            script.write_text(guard.render(now))
            anew.run("nft", "-f", str(script))
            assert listed(changed) == listed(anew)


def listed(host: Host) -> list[str]:
    """The parts of the table; the elements of a set have no order."""
    return sorted(
        host.run("nft", "list", "table", "netdev", "pktlb").stdout.replace(",", "").split()
    )
