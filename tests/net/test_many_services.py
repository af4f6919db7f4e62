"""More services than fit a socket filter are served as well."""

import pytest

from netns import nat
from netns.lab import Lab


@pytest.mark.net
def test_many_services_are_served_where_the_kernel_takes_only_short_filters() -> None:
    count = 2000
    with Lab("many") as lab:
        nat.build(lab)
        gw, client = lab.hosts["gw"], lab.hosts["client"]
        gw.run("sysctl", "-w", "net.core.optmem_max=8192")
        lab.hosts["a"].serve(8080)
        arguments = ["run", "--mode", "nat"]
        for port in range(80, 80 + count):
            arguments += ["--vip", f"10.0.1.100:{port}", "--backend", "10.0.2.11:8080"]
        process = gw.pktlb(*arguments)
        assert f"services={count} " in process.stdout
        for port in (80, 79 + count):
            url = f"http://10.0.1.100:{port}/"
            assert client.run("curl", "-sf", url).stdout.startswith("a 10.0.1.2:")
        assert client.run("ping", "-c1", "-W2", "10.0.1.100").returncode == 0
        assert process.stop() == 0
