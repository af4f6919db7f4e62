"""The commands of README's section "Operating", as they stand there, one after the other."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from netns.host import pktlb_command
from netns.waiting import wait_until
from tests.net.test_operating import service
from tests.net.world import World

README: Final = Path(__file__).parents[2] / "README.md"
CONFIG: Final = "/etc/pktlb/pktlb.toml"
GO_ON: Final = {"stats --watch": "SERVICE", "monitor": ""}
"Commands that do not end by themselves, and the text that they print before the test stops them."


def commands() -> Iterator[str]:
    """The words after `pktlb` in each line, without the comments."""
    block = re.search(r"^## Operating$.*?^```sh$(.*?)^```$", README.read_text(), re.M | re.S)
    assert block
    for line in block[1].strip().splitlines():
        program, _, rest = line.partition("#")[0].strip().partition(" ")
        assert program == "pktlb"
        yield rest


def test_each_command_of_the_readme_does_what_it_says(nat_world: World, tmp_path: Path) -> None:
    world, file = nat_world, tmp_path / "pktlb.toml"
    text = service(world, {"a": 1, "b": 1, "c": 1})
    file.write_text(text)
    done = []
    for command in commands():
        words = shlex.split(command.replace(CONFIG, str(file)))
        done.append(words[0])
        if words[0] == "run":
            balancer = world.balancer.pktlb(*words)
            assert world.answers(3) == {"a": 1, "b": 1, "c": 1}
        elif command in GO_ON:
            process = world.balancer.start(*pktlb_command(*words))
            wait_until(lambda p=process, c=command: GO_ON[c] in p.stdout, 10, command)  # type: ignore[misc]
            process.stop()
        else:
            world.balancer.ask(*words)
    assert done == [
        "check", "run", "plan", "reload", "status", "backend", "backend", "flow", "stats",
        "monitor", "snapshot", "restart",
    ]  # fmt: skip
    assert set(world.answers(4)) == {"a", "b", "c"}
    assert balancer.status is None
    assert json.loads(world.balancer.ask("status", "--json").stdout)["flows"] > 4
