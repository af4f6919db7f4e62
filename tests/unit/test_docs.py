"""The pages say what is true: help texts, reasons, links, and the commands that tests run."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from deb import commands
from pktlb.cli.main import COMMANDS
from pktlb.model import Reason

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = (ROOT / "README.md").read_text()
DOCS: Final = ROOT / "docs"
PAGES: Final = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md")))
}
FENCED: Final = re.compile(r"^( *)```(.*?)\n(.*?)^\1```$", re.M | re.S)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
SECTIONS: Final = (
    "Five minutes", "The modes", "Operating", "Troubleshooting", "Compared",
    "Limits of this version",
)  # fmt: skip
RUN: Final = {
    "README.md": {"sh", "sh balancer", "sh backend", "sh client"},
    "docs/api.md": {"sh"},
    "docs/migrating.md": {"sh"},
    "docs/mtu.md": {"sh balancer", "sh watch"},
    "docs/operating.md": {"sh balancer", "sh client", "sh watch"},
    "docs/services.md": {"sh balancer", "sh backend", "sh client", "sh left", "sh right"},
    "docs/systemd.md": {"sh unit", "sh completion"},
}
"Kinds of blocks that the test of a page runs as they stand there."
TUNNELS: Final = "needs the tunnel modules of a kernel, which a test cannot load"
ELSEWHERE: Final = {
    "make demo": "tests/net/test_labs.py",
    "make test": "runs this test",
    ".venv/bin/python netns/nat.py walk": "tests/net/test_readme.py",
    "pktlb run -c /etc/pktlb/pktlb.toml": "tests/net/test_configuration_file.py",
    "pktlb check FILE": "tests/unit/config/test_configuration_page.py",
    "pktlb schema > pktlb.schema.json": "tests/unit/config/test_configuration_page.py",
    "make deb": "deb/test_deb.py",
    "apt install ./build/deb/pktlb_*.deb": "deb/test_deb.py, by dpkg: apt needs the network",
    "systemctl enable --now pktlb": "tests/net/test_systemd.py starts it",
    "systemctl status pktlb": "only shows something",
    "systemctl reload pktlb": "tests/net/test_systemd.py",
    "journalctl -u pktlb": "only shows something",
    "systemctl edit pktlb": "opens an editor",
    "[Service]": "the text for the editor",
    "SupplementaryGroups=adm": "the text for the editor",
    "ip link set tunl0 up": TUNNELS,
    "ip address add 10.0.2.100/32 dev tunl0": TUNNELS,
    "sysctl -w net.ipv4.conf.tunl0.rp_filter=2": TUNNELS,
    "ip link add vip4 type ipip local 10.0.3.11 remote any": TUNNELS,
    "ip link add vip6 type ip6tnl mode any local fd03::13 remote any": TUNNELS,
    "ip link add vip64 type sit local 10.0.3.11 remote any": TUNNELS,
}
"Indented commands of the pages, and the test that runs each, or the reason why none does."


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return FENCED.sub("", page)


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading).lower() for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


def test_the_commands_page_shows_the_help_of_each_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`make docs` writes it anew."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = PAGES["docs/commands.md"]
    assert shown.split() == commands.page(shown).split()
    assert {f"pktlb-{name}" for name in COMMANDS} <= anchors(shown)


def test_the_readme_is_short_and_has_its_sections_in_order() -> None:
    assert len(README.splitlines()) <= 250
    assert tuple(re.findall(r"^## (.*)$", README, re.M)) == SECTIONS


def test_no_line_of_the_readme_but_rows_of_tables_is_wider_than_100_characters() -> None:
    wide = [line for line in README.splitlines() if len(line) > 100 and line[0] != "|"]
    assert not wide


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_each_reason_is_explained(reason: Reason) -> None:
    row = f"| `{reason.name}` | {reason.verdict.name} | {reason.sentence} |"
    assert row in PAGES["docs/reasons.md"]


def test_make_help_lists_what_the_pages_promise() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    named = {name for page in PAGES.values() for name in re.findall(r"`make ([a-z0-9-]+)", page)}
    assert named <= listed
    assert {"setup", "demo", "test", "unit", "lint", "bench", "nat", "dsr", "tunnel"} <= listed
    assert {"fuzz", "soak", "test-asan", "docs"} <= listed


@pytest.mark.parametrize("name", PAGES)
def test_each_link_leads_to_a_file_and_a_heading_that_exist(name: str) -> None:
    for target in LINK.findall(prose(PAGES[name])):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in anchors(path.read_text()), f"{name} links to {target}"


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_the_readme_links_to_each_page(path: Path) -> None:
    assert f"(docs/{path.name}" in README


@pytest.mark.parametrize("name", PAGES)
def test_each_block_of_commands_is_of_a_kind_that_a_test_runs(name: str) -> None:
    kinds = {kind for _, kind, _ in FENCED.findall(PAGES[name]) if kind.startswith("sh")}
    assert kinds <= RUN.get(name, set())


def test_each_indented_command_is_run_by_a_test_or_has_a_reason() -> None:
    found = {
        line.partition("#")[0].strip()
        for page in PAGES.values()
        for block in re.findall(r"(?<=\n\n)((?: {4,}\S.*\n)+)", prose(page))
        for line in block.splitlines()
    }
    assert found == set(ELSEWHERE)
    named = {file for why in ELSEWHERE.values() for file in re.findall(r"\S+\.py", why)}
    assert all((ROOT / file).exists() for file in named)
