"""An option is said once: one line makes a key, flags, help, schema, manual, completion and more.

The package is copied, and lines are put into the copy: options of a service, of a backend and of
the balancer, of each kind. All that is tested here runs in processes of the copy.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.one_option import ADDED, COPIED, FILE, ROOT, run, script


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package that has more options."""
    place = tmp_path_factory.mktemp("copy")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        (place / name).parent.mkdir(exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, place / name)
    shutil.copy(ROOT / "README.md", place)
    for name, before, line in ADDED:
        path = place / "pktlb/config" / name
        text = path.read_text()
        assert text.count(before) == 1
        path.write_text(text.replace(before, line + before))
    (place / "f.toml").write_text(FILE)
    return place


def test_flags_of_run_are_explained_and_become_the_config(copy: Path) -> None:
    shown = " ".join(run(copy, "-m", "pktlb", "run", "--help").split())
    assert "--tint {red,green}" in shown
    assert "colour of its frames (default: red)" in shown
    assert "place=N: its place in a queue (default: 3)" in shown
    assert "--patience SECONDS" in shown
    assert "how long it waits (default: 5)" in shown
    script(
        copy,
        """
        from pktlb.cli.main import make_parser
        from pktlb.cli.run import make_config
        words = "--mode nat --vip 203.0.113.10:80 --backend 10.0.2.11,place=9 --tint green"
        made = make_config(make_parser().parse_args(["run", *words.split(), "--patience", "60"]))
        (service,) = made.services
        assert (service.tint, service.backends[0].rank, made.patience) == ("green", 9, 60)
        """,
    )


def test_a_flag_of_a_list_may_be_repeated(copy: Path) -> None:
    shown = " ".join(run(copy, "-m", "pktlb", "run", "--help").split())
    assert "what it is (default: blue, grey); may be repeated" in shown
    assert "zones=ZONE: where it stands; may be repeated" in shown
    script(
        copy,
        """
        from pktlb.cli.main import make_parser
        from pktlb.cli.run import make_config
        words = "--mode nat --tags all --tags each --vip 203.0.113.10:80 --backend 10.0.2.11 "
        words += "--vip 203.0.113.11:80 --tags a --tags b --backend 10.0.2.11,zones=a,zones=b"
        first, second = make_config(make_parser().parse_args(["run", *words.split()])).services
        assert (first.tags, second.tags) == (("all", "each"), ("a", "b"))
        assert (first.backends[0].zones, second.backends[0].zones) == ((), ("a", "b"))
        """,
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--mode nat --vip 203.0.113.10:80 --tags a --tags -b --backend 10.0.2.11",
         "--tags: expected one argument"),
        ("--mode nat --vip 203.0.113.10:80 --tags a --tags=-b --backend 10.0.2.11",
         "--tags -b: expected a name of 1..64 letters"),
        ("--mode nat --vip 203.0.113.10:80 --tags a --tags b --tags c --tags d --backend 10.0.2.11",
         "--tags a b c d: expected 3 at most, got 4"),
        ("--mode nat --vip 203.0.113.10:80 --backend 10.0.2.11,zones=a,zones=",
         "--backend 10.0.2.11,zones=a,zones=: expected a name of 1..64 letters"),
        ("--patience 61", "--patience 61: expected seconds in 1..60, got 61"),
        ("--mode nat --vip 203.0.113.10:80 --backend 10.0.2.11,place=0",
         "--backend 10.0.2.11,place=0: expected a rank in 1..9, got 0"),
        ("--mode nat --vip 203.0.113.10:80 --ratio half --backend 10.0.2.11",
         "--ratio half: expected a ratio such as 0.5, got 'half'"),
        ("--tint blue", "--tint: invalid choice: 'blue'"),
        ("-c f.toml --patience 3", "--patience: expected in the file, for there is --config"),
    ],
)  # fmt: skip
def test_a_bad_flag_is_told_with_its_bounds(copy: Path, flags: str, said: str) -> None:
    assert run(copy, "-m", "pktlb", "run", *flags.split(), status=2).startswith(f"pktlb: {said}")


def test_a_file_is_read_checked_and_written_again(copy: Path) -> None:
    script(
        copy,
        """
        from pathlib import Path
        from pktlb.config.file import read, write
        text = Path("f.toml").read_text()
        config = read(text, "f")
        (service,) = config.services
        assert (service.tint, service.backends[0].rank, config.patience) == ("green", 9, 60)
        assert text in write(config).replace("\\n\\n", "\\n")
        """,
    )
    (copy / "bad.toml").write_text(
        FILE.replace("60", "0").replace("green", "gren").replace("= 9", "= 10")
    )
    assert run(copy, "-m", "pktlb", "check", "bad.toml", status=2).splitlines() == [
        "bad.toml:2: balancer.patience: expected seconds in 1..60, got 0",
        "bad.toml:8: service[0].tint: expected red or green, got 'gren' (did you mean green?)",
        "bad.toml:11: service[0].backend[0].rank: expected a rank in 1..9, got 10",
    ]


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("service add", "--tint TINT"), ("service set", "--tint TINT"),
        ("backend add", "--rank N"), ("backend set", "--rank N"),
    ],
)  # fmt: skip
def test_commands_explain_it(copy: Path, command: str, shown: str) -> None:
    assert shown in run(copy, "-m", "pktlb", *command.split(), "--help")


def test_commands_send_it_to_a_balancer_that_runs(copy: Path) -> None:
    script(
        copy,
        f"""
        import os
        from pktlb.cli.main import main
        from pktlb.config.service import Burst
        from tests.support.server import running
        os.environ["PKTLB_SOCKET"] = path = {str(copy / "x.sock")!r}
        with running(path) as server:
            for line in (
                "service add new --vip 10.0.1.9:80 --mode nat --tint green "
                "--backend 10.0.2.9,place=7",
                "backend add new 10.0.2.8 --rank 8",
                "service set web --tint green --tags a --tags b --burst low=7",
                "service set web --burst glow=false --ratio 0.25",
                "backend set web 10.0.2.11 --rank 9 --no-lit --gust low=2",
            ):
                assert main(line.split()) == 0
            assert main("backend set web 10.0.2.11 --rank 10".split()) == 2
            assert main("service set web --burst low=10".split()) == 2
            web, _, new = server.operator.config.services
            assert (web.tint, web.backends[0].rank) == ("green", 9)
            assert (web.tags, web.burst, web.ratio) == (("a", "b"), Burst(7, False), 0.25)
            assert (web.backends[0].lit, web.backends[0].gust) == (False, Burst(2))
            assert (new.tint, [each.rank for each in new.backends]) == ("green", [7, 8])
        """,
    )


def test_the_schema_has_it(copy: Path) -> None:
    script(
        copy,
        """
        from pktlb.config.schema import schema
        defined = schema()["$defs"]
        assert defined["ServiceKeys"]["properties"]["tint"] == {
            "enum": ["red", "green"], "default": "red", "description": "colour of its frames"}
        assert defined["BackendKeys"]["properties"]["rank"] == {
            "type": "integer", "minimum": 1, "maximum": 9, "default": 3,
            "description": "its place in a queue"}
        assert defined["BalancerKeys"]["properties"]["patience"]["maximum"] == 60
        text = {"type": "string", "minLength": 1, "maxLength": 256}
        assert defined["ServiceKeys"]["properties"]["tags"] == {
            "anyOf": [text, {"type": "array", "items": text, "maxItems": 3}],
            "default": ["blue", "grey"], "description": "what it is"}
        assert defined["ServiceKeys"]["properties"]["ratio"] == {
            **text, "default": "0.5", "description": "share that is kept"}
        assert defined["BackendKeys"]["properties"]["lit"]["default"] is True
        burst = defined["ServiceKeys"]["properties"]["burst"]
        assert burst == {"$ref": "#/$defs/BurstKeys", "description": "packets at once"}
        assert defined["BurstKeys"]["properties"]["low"]["maximum"] == 9
        """,
    )


def test_the_manual_has_it(copy: Path) -> None:
    run(copy, "-m", "deb.manual", "man")
    pages = {name: (copy / f"man/pktlb-{name}.1").read_text() for name in ("run", "service")}
    assert all("tint" in page and "colour of its frames" in page for page in pages.values())
    assert "patience" in pages["run"]


def test_the_pages_have_it(copy: Path) -> None:
    run(copy, "-m", "deb.options", "docs/configuration.md")
    page = (copy / "docs/configuration.md").read_text()
    for row in (
        '| `tint` | `red`, `green` | "red" | reload | colour of its frames |',
        '| `tags` | text, or a list | ["blue", "grey"] | reload | what it is |',
        '| `ratio` | text | "0.5" | reload | share that is kept |',
        "| `lit` | true, false | true | reload | whether it has light |",
        "| `rank` | 1..9 | 3 | reload | its place in a queue |",
        "| `patience` | 1..60 seconds | 5 | restart | how long it waits |",
    ):
        assert row in page.splitlines()
    run(copy, "-m", "deb.commands", "docs/commands.md")
    assert "--patience SECONDS" in (copy / "docs/commands.md").read_text()


def test_a_shell_completes_its_words(copy: Path) -> None:
    (copy / "completion").write_text(run(copy, "-m", "pktlb", "completion", "bash"))
    for words in ("run --tint", "service set web --tint", "service add --tint"):
        line = 'source completion; COMP_WORDS=(pktlb "$@" g); COMP_CWORD=$(($# + 1)); '
        line += 'COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}; _pktlb; echo "$COMPREPLY"'
        done = subprocess.run(
            ["bash", "-c", line, "bash", *words.split()], cwd=copy, text=True, check=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert done.stdout == "green\n"


def test_a_difference_names_it_and_what_only_a_restart_changes(copy: Path) -> None:
    script(
        copy,
        """
        from pathlib import Path
        from pktlb.config.file import read
        from pktlb.plan.change import at_start, difference, said
        text = Path("f.toml").read_text()
        before = read(text.replace("60", "7").replace("green", "red").replace("= 9", "= 1"), "f")
        after = read(text, "f")
        assert said(difference(before, after)) == (
            "balancer: patience 7 -> 60",
            "service web: tint red -> green",
            "service web, backend 10.0.2.11:80: rank 1 -> 9",
        )
        assert at_start(before, after) == ("patience",)
        """,
    )


def test_a_reload_refuses_what_only_a_restart_changes_in_services_and_backends(copy: Path) -> None:
    script(
        copy,
        """
        from pathlib import Path
        from pktlb.config.file import read
        from pktlb.plan.change import transition
        text = Path("f.toml").read_text()
        before = read(text, "f")
        more = text.replace("[[service.backend]]", "grade = 3\\n[[service.backend]]")
        after = read(more + 'zones = ["a", "b"]', "f")
        change = transition(before, after)
        assert change.at_start == (
            "service web: grade", "service web, backend 10.0.2.11:80: zones")
        assert [item.detail for item in change.items] == ["grade 2 -> 3", "zones none -> a,b"]
        assert transition(before, read(text, "f")).at_start == ()
        """,
    )
    run(copy, "-m", "deb.options", "docs/configuration.md")
    page = (copy / "docs/configuration.md").read_text().splitlines()
    assert "| `grade` | 0..9 | 2 | restart | how good it is |" in page


def test_a_table_inside_a_table_is_read_told_and_written(copy: Path) -> None:
    text = FILE.replace("[[service]]", "[balancer.blast]\nlow = 2\n[[service]]")
    text = text.replace("[[service.backend]]", "[service.burst]\nlow = 3\n[[service.backend]]")
    text += "[service.backend.gust]\nglow = false\n"
    (copy / "tables.toml").write_text(text)
    script(
        copy,
        """
        from pathlib import Path
        from pktlb.cli.main import make_parser
        from pktlb.cli.run import make_config
        from pktlb.config.file import changed_service, read, write
        from pktlb.config.service import Burst
        from pktlb.plan.change import difference, said
        text = Path("tables.toml").read_text()
        made = read(text, "f")
        (service,) = made.services
        assert (made.blast, service.burst) == (Burst(2), Burst(3))
        assert service.backends[0].gust == Burst(1, False)
        assert text in write(made).replace("\\n\\n", "\\n")
        assert changed_service(service, {"burst": {"glow": False}}).burst == Burst(3, False)
        assert said(difference(read(Path("f.toml").read_text(), "f"), made)) == (
            "balancer: blast low=1,glow=true -> low=2,glow=true",
            "service web: burst low=1,glow=true -> low=3,glow=true",
            "service web, backend 10.0.2.11:80: gust low=1,glow=true -> low=1,glow=false")
        words = "--mode nat --blast low=2 --vip 203.0.113.10:80 --burst low=3,glow=true "
        words += "--backend 10.0.2.11,gust=glow=false,gust=low=4"
        made = make_config(make_parser().parse_args(["run", *words.split()]))
        (service,) = made.services
        assert (made.blast, service.burst) == (Burst(2), Burst(3))
        assert service.backends[0].gust == Burst(4, False)
        """,
    )
    bad = text.replace("low = 2", "low = 0").replace("low = 3", "lo = 3").replace("glow =", "glw =")
    (copy / "bad.toml").write_text(bad.replace("rank = 9", 'rank = 9\nzones = ["", "a"]'))
    assert run(copy, "-m", "pktlb", "check", "bad.toml", status=2).splitlines() == [
        "bad.toml:4: balancer.blast.low: expected packets in 1..9, got 0",
        "bad.toml:12: service[0].burst.lo: unknown key, got 3 (did you mean low?)",
        "bad.toml:16: service[0].backend[0].zones[0]: expected a name of 1..64 letters without "
        "spaces, not starting with -, got ''",
        "bad.toml:18: service[0].backend[0].gust.glw: unknown key, got false (did you mean glow?)",
    ]
    shown = " ".join(run(copy, "-m", "pktlb", "run", "--help").split())
    assert "packets at once (default: low=1,glow=true)" in shown
    run(copy, "-m", "deb.options", "docs/configuration.md")
    page = (copy / "docs/configuration.md").read_text()
    for head in ("[balancer.blast]", "[service.burst]", "[service.backend.gust]"):
        assert f"\n`{head}`:\n\n| key |" in page
    assert page.count("| `glow` | true, false | true | reload | whether they shine |") == 3
    assert "| `syn` | 1..1000000 seconds | 60 | restart |" in page
    run(copy, "-m", "deb.options", "docs/configuration.md")
    assert page == (copy / "docs/configuration.md").read_text()


def test_a_switch_that_is_on_can_be_turned_off_everywhere(copy: Path) -> None:
    shown = " ".join(run(copy, "-m", "pktlb", "run", "--help").split())
    assert "lit or no-lit: whether it has light (default: true)" in shown
    script(
        copy,
        """
        from pktlb.cli.main import make_parser
        from pktlb.cli.run import make_config
        words = "--mode nat --vip 203.0.113.10:80 --ratio 0.25 --backend 10.0.2.11,no-lit "
        words += "--backend 10.0.2.12,lit --backend 10.0.2.13"
        made = make_config(make_parser().parse_args(["run", *words.split()]))
        (service,) = made.services
        assert service.ratio == 0.25
        assert [each.lit for each in service.backends] == [False, True, True]
        """,
    )
