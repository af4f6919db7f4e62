"""docs/configuration.md has all keys as they are; its examples and the schema can be used."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from deb.options import rows, written
from pktlb.cli.main import main
from pktlb.config.file import read
from pktlb.config.schema import schema
from pktlb.errors import FileError
from tests.support.json_schema import mistakes

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "configuration.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
DEFINED: dict[str, Any] = schema()["$defs"]
MODELS = {
    "[balancer]": "BalancerKeys",
    "[balancer.timeouts]": "TimeoutsKeys",
    "[[service]]": "ServiceKeys",
    "[[service.backend]]": "BackendKeys",
}


def test_the_page_has_all_keys_as_they_are() -> None:
    assert written(PAGE) == PAGE, "run `make docs`"


@pytest.mark.parametrize("head", MODELS)
def test_the_page_and_the_schema_say_the_same(head: str) -> None:
    told = DEFINED[MODELS[head]]["properties"]
    listed = [row for row in rows(head) if row.startswith("| `")]
    tables = {key for key, each in told.items() if "$ref" in each or each.get("type") == "array"}
    assert [row.split("`")[1] for row in listed] == [key for key in told if key not in tables]
    for row, key in zip(listed, (key for key in told if key not in tables), strict=True):
        assert row.endswith(f"| {told[key]['description']} |")


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_can_be_used(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pktlb.toml"
    path.write_text(text)
    assert main(["check", str(path)]) == 0, capsys.readouterr().err
    assert not list(mistakes(tomllib.loads(text), schema(), schema()))


def test_the_page_shows_what_a_mistake_looks_like() -> None:
    text = '[[service]]\nvip = "203.0.113.10:80"\nmode = "nta"\n'
    text += '[[service.backend]]\naddress = "10.0.2.11"\nwieght = 3\n'
    with pytest.raises(FileError) as error:
        read(text, "pktlb.toml")
    for line in error.value.problems:
        assert line in PAGE


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("service = 3", ".service"),
        ("balancer.timeouts.syn = 0", ".balancer.timeouts.syn"),
        ("balancer.interfaces = [3]", ".balancer.interfaces"),
        ("[[service]]\nvip = 'any'", ".service[0].mode"),
        ("[[service]]\nvip = 'any'\nmode = 'x'", ".service[0].mode"),
        ("[[service]]\nvip = 3\nmode = 'nat'", ".service[0].vip"),
        ("[[service]]\nvip = 'any'\nmode = 'nat'\nx = 1", ".service[0].x"),
        ("[[service]]\nvip = 'any'\nmode = 'nat'\npick_up = 1", ".service[0].pick_up"),
        (
            "[[service]]\nvip = 'any'\nmode = 'nat'\nbackend = [{}]",
            ".service[0].backend[0].address",
        ),
    ],
)
def test_the_schema_finds_mistakes(text: str, where: str) -> None:
    assert list(mistakes(tomllib.loads(text), schema(), schema())) == [where]


def test_schema_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == schema()
    for table in printed["$defs"].values():
        assert all("description" in told for told in table["properties"].values())
