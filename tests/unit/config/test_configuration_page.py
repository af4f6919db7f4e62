"""docs/configuration.md lists all keys as they are; its examples and the schema can be used."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pktlb.cli.main import main
from pktlb.config.file import read
from pktlb.config.schema import schema
from pktlb.errors import FileError
from tests.support.json_schema import mistakes

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "configuration.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
DEFINED: dict[str, Any] = schema()["$defs"]
TABLES = {
    "[balancer]": "BalancerTable",
    "[balancer.timeouts]": "TimeoutsTable",
    "[[service]]": "ServiceTable",
    "[[service.backend]]": "BackendTable",
}


def value(told: dict[str, Any]) -> str:
    """What a key takes, as the page says it."""
    if "enum" in told:
        return ", ".join(f"`{word}`" for word in told["enum"])
    if told.get("type") == "integer":
        return f"{told['minimum']}..{told['maximum']}"
    return {"boolean": "true, false", "string": "text", None: "text, or a list"}[told.get("type")]


def rows(name: str) -> list[str]:
    """The page's rows of a table: `| key | value | default | meaning |`."""
    table = DEFINED[name]
    made = []
    for key, told in table["properties"].items():
        if "$ref" in told or told.get("type") == "array":
            continue  # a table of its own
        default = json.dumps(told["default"]) if "default" in told else ""
        if key in table.get("required", ()):
            default = "required"
        made.append(f"| `{key}` | {value(told)} | {default} | {told['description']} |")
    return made


@pytest.mark.parametrize("head", TABLES)
def test_the_page_has_all_keys_as_they_are(head: str) -> None:
    section = PAGE.split(f"\n### `{head}`\n")[1].split("\n### ")[0].split("\n## ")[0]
    listed = [line for line in section.splitlines() if line.startswith("| `")]
    assert listed == rows(TABLES[head])


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
