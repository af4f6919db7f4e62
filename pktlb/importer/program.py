"""The command `import`: finds out what it was given, and says what it could not carry over."""

import os
import re
from typing import Final

from pktlb.errors import ConfigError
from pktlb.importer import keepalived, saved
from pktlb.importer.notes import Draft, Note
from pktlb.importer.output import text_of
from pktlb.importer.source import decode, without_comment

KINDS: Final = ("ipvsadm", "keepalived")
_RULE: Final = re.compile(
    r"(?:\S*/)?ipvsadm\s|-[AaEeDdCRSZ]\b|--(?:add|edit|delete|clear|set|zero)\b"
)


def convert(content: bytes, name: str, kind: str | None, follow: bool) -> tuple[str, list[Note]]:
    """The text of a configuration file, and what could not be carried over."""
    text = decode(content, name)
    kind = kind or recognise(text)
    if kind is None:
        raise ConfigError(
            f"{name}: looks neither like `ipvsadm -S -n` nor like a keepalived.conf (see --from)"
        )
    draft = _read(text, name, kind, follow)
    made = text_of(draft, f"{name} ({kind})")
    return made, draft.notes


def _read(text: str, name: str, kind: str, follow: bool) -> Draft:
    if kind == "ipvsadm":
        return saved.read(text.split("\n"), name)
    folder = os.path.dirname(name) if name != "-" else ""
    return keepalived.read(text, name, folder, follow)


def recognise(text: str) -> str | None:
    """By the first line that says something."""
    for line in text.split("\n"):
        bare = without_comment(line).strip()
        if not bare:
            continue
        if _RULE.match(bare):
            return "ipvsadm"
        return "keepalived" if "{" in text or bare.startswith("include") else None
    return None
