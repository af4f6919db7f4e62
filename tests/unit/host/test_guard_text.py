"""The text of the guard's table: which frames are looked at, whatever the services are."""

import subprocess
from dataclasses import replace

import pytest

from pktlb.host.guard import Guard, is_whole, render
from pktlb.model import Vip

GUARD = Guard(
    devices=("wan", "lan"),
    services=frozenset({Vip(bytes([10, 0, 1, 100]), 80, 80, (6,))}),
    replies=frozenset(),
    returns=frozenset(),
    snat=(),
    own_ports=range(0),
    owned=(),
)


def chains(guard: Guard) -> dict[str, list[str]]:
    """The rules of each chain at a device, by the device."""
    found: dict[str, list[str]] = {}
    for line in render(guard).splitlines():
        if "hook ingress" in line:
            rules = found[line.split(chr(34))[1]] = []
        elif line == "}":
            rules = []
        elif found:
            rules.append(line)
    return found


@pytest.mark.parametrize("devices", [("wan",), ("wan", "lan")])
def test_each_device_holds_frames_without_a_tag_and_of_vlan_0_alone(
    devices: tuple[str, ...],
) -> None:
    ip = "type { ip, ip6 } meta pkttype host jump held"
    wanted = [
        f"ether {ip}",
        f"ether type 8021q vlan id 0 vlan {ip}",
        f"ether type 8021ad vlan id 0 vlan {ip}",
    ]
    assert chains(replace(GUARD, devices=devices)) == dict.fromkeys(devices, wanted)


def test_a_listing_without_the_rule_of_vlan_0_is_not_whole() -> None:
    whole = render(GUARD)
    assert is_whole(GUARD, whole.split())
    for part in ("vlan id 0", "8021ad"):
        cut = "\n".join(line for line in whole.splitlines() if part not in line)
        assert not is_whole(GUARD, cut.split())


def test_nft_takes_the_text() -> None:
    text = render(replace(GUARD, devices=("lo",)))
    done = subprocess.run(
        ["nft", "--check", "-f", "-"], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
