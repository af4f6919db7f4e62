"""Options of each kind, each a line of a declaration, and a copy of the package that has them."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("pktlb", "deb", "docs", "tests/__init__.py", "tests/support")
TINT = """\
    tint: str = field(default="red", metadata=option(OneOf({"red": "red", "green": "green"}, "TINT"), "colour of its frames"))
"""  # noqa: E501
RANK = """\
    rank: int = field(default=3, metadata=option(Whole("a rank", 1, 9), "its place in a queue", short="place"))
"""  # noqa: E501
PATIENCE = """\
    patience: int = field(default=5, metadata=option(Whole("seconds", 1, 60, "seconds"), "how long it waits", live=False))
"""  # noqa: E501
TAGS = """\
    tags: tuple[str, ...] = field(default=("blue", "grey"), metadata=option(Many(Text("a tag", parse_name, "TAG"), high=3), "what it is"))
"""  # noqa: E501
ZONES = """\
    zones: tuple[str, ...] = field(default=(), metadata=option(Many(Text("a zone", parse_name, "ZONE"), high=2), "where it stands", live=False))
"""  # noqa: E501
GRADE = """\
    grade: int = field(default=2, metadata=option(Whole("a grade", 0, 9), "how good it is", live=False))
"""  # noqa: E501
LIT = """\
    lit: bool = field(default=True, metadata=option(Switch(), "whether it has light"))
"""
RATIO = """\
    ratio: float = field(default=0.5, metadata=option(Text("a ratio such as 0.5", float, "RATIO"), "share that is kept", show=str))
"""  # noqa: E501
BURST = """\
@dataclass(frozen=True, slots=True)
class Burst:
    low: int = field(default=1, metadata=option(Whole("packets", 1, 9), "fewest packets"))
    glow: bool = field(default=True, metadata=option(Switch(), "whether they shine"))


"""
BURSTS = """\
    %s: Burst = field(default=Burst(), metadata=option(Group(Burst, options(Burst), "NAME=N[,...]", "Packets at once."), "packets at once"))
"""  # noqa: E501
ADDED = [
    ("service.py", "from pktlb.config.kinds import", "from pktlb.config.group import Group\n"),
    ("service.py", "import Beside, option", "import options  # noqa\nfrom pktlb.config.option "),
    ("config.py", "import Service\n", "import Burst\nfrom pktlb.config.service "),
    ("config.py", "import Beside, Option", "import options  # noqa\nfrom pktlb.config.option "),
    ("service.py", "@dataclass(frozen=True, slots=True)\nclass Backend", BURST),
    ("service.py", "    on_remove: OnRemove = field(\n", BURSTS % "burst"),
    ("service.py", "\n\ndef _hashes_as_it_should", BURSTS % "gust"),
    ("config.py", "    control: str | None = field(\n", BURSTS % "blast"),
    ("service.py", "    on_remove: OnRemove = field(\n", TINT),
    ("service.py", "    on_remove: OnRemove = field(\n", GRADE),
    ("service.py", "    on_remove: OnRemove = field(\n", RATIO),
    ("service.py", "\n\ndef _hashes_as_it_should", LIT),
    ("service.py", "    on_remove: OnRemove = field(\n", TAGS),
    ("service.py", "\n\ndef _hashes_as_it_should", RANK),
    ("service.py", "\n\ndef _hashes_as_it_should", ZONES),
    ("config.py", "    control: str | None = field(\n", PATIENCE),
]
"The file in pktlb/config, what the line stands before, and the line."
FILE = """\
[balancer]
patience = 60
[[service]]
name = "web"
vip = "203.0.113.10:80/tcp"
mode = "nat"
scheduler = "rr"
tint = "green"
[[service.backend]]
address = "10.0.2.11:80"
rank = 9
"""


def run(copy: Path, *arguments: str, status: int = 0) -> str:
    """What Python prints with these arguments, errors included, in the copy."""
    environment = {k: v for k, v in os.environ.items() if k != "PKTLB_SOCKET"}
    environment |= {"PYTHONPATH": str(copy), "COLUMNS": "200", "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    return done.stdout


def script(copy: Path, text: str) -> None:
    """Run the lines of a test."""
    run(copy, "-c", dedent(text))
