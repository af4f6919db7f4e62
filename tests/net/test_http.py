"""HTTP through the balancer: the servers that answer, what they see, and many clients at once."""

from collections import Counter

from tests.net.world import CLIENT, CURL, EACH_ALONE, World, parse

CROWD = 200


def test_pktlb_runs_on_the_engine_of_the_test(nat_world: World, lab_engine: str) -> None:
    balancer = nat_world.balance()
    said = {
        "native": "engine=native workers=1",
        "python": "engine=python workers=1",
        "workers": "engine=native workers=3",
    }
    assert balancer.stdout.endswith(f"{said[lab_engine]}\n")


def test_servers_take_turns_and_see_the_client_s_own_address(world: World) -> None:
    world.balance()
    answers = world.ask(12)
    assert Counter(answer.server for answer in answers) == {"a": 4, "b": 4, "c": 4}
    assert {answer.client for answer in answers} == {CLIENT}


def test_a_connection_keeps_its_server_for_all_its_requests(world: World) -> None:
    world.balance()
    urls = [world.url] * 20
    answers = parse(world.client.run(*CURL, *urls).stdout)
    assert len(answers) == 20
    assert len({(answer.server, answer.client_port) for answer in answers}) == 1


def test_a_server_is_dialled_at_the_address_of_the_mode(world: World) -> None:
    """NAT rewrites the destination; in the other modes the server is dialled at the VIP."""
    world.balance()
    for answer in world.ask(3):
        own = world.topology.backends[answer.server]
        expected = own if world.topology.mode == "nat" else world.topology.vip
        assert f"{answer.address}:{answer.port}" == expected


def test_a_port_on_which_no_backend_listens_is_refused_at_once(world: World) -> None:
    """The backend's own RST reaches the client; nothing hangs."""
    address, _ = world.vip
    backend = world.topology.backends["a"].partition(":")[0]
    world.balance("--vip", f"{address}:81", "--backend", f"{backend}:81")
    refused = world.client.run("curl", "-s", "-m", "5", f"http://{address}:81", check=False)
    assert refused.returncode == 7  # "could not connect", not 28, "timed out"


def test_two_hundred_connections_at_once_are_all_answered(world: World) -> None:
    world.balance()
    report = crowd(world, f"{world.url}/bytes/2000", "%{size_download}")
    assert Counter(code for code, _ in report) == {"200": CROWD}
    assert Counter(size for _, size in report) == {"2000": CROWD}


def test_two_hundred_connections_are_held_at_the_same_time(world: World) -> None:
    """All connections are open at the same time, and `lc` has spread them evenly."""
    world.balance(scheduler="lc")
    what = "%header{server} %{time_starttransfer} %{time_total}"
    report = crowd(world, f"{world.url}/slow/4", what)
    assert Counter(code for code, *_ in report) == {"200": CROWD}
    assert max(float(begun) for *_, begun, _ in report) < 4
    assert min(float(ended) for *_, ended in report) >= 4
    shares = Counter(server for _, server, *_ in report)
    assert max(shares.values()) - min(shares.values()) <= 1


def crowd(world: World, url: str, what: str) -> list[list[str]]:
    """Send requests at once, each over a connection of its own; status and `what` of each."""
    urls = world.lab.new_file(world.client, "urls")
    urls.write_text(f'url = "{url}"\noutput = /dev/null\n' * CROWD)
    together = ("--parallel", "--parallel-immediate", "--parallel-max", str(CROWD))
    write = ("--write-out", f"%{{http_code}} {what}\n", "--config", str(urls))
    report = world.client.run(*CURL, *EACH_ALONE, *together, *write).stdout
    return [line.split() for line in report.splitlines()]
