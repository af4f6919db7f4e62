"""The command `import`: recognises its input, and makes a configuration file of it.

    saved rules ──────────────────────► saved ──────┐
    keepalived.conf ─► source ─► tree ─► keepalived ┴─► Draft ─► output (TOML)
                                                        └─► notes: what could not be carried over

A `Draft` holds services in the keys of the configuration file. `output` turns them into a `Config`
by the functions that read a file.
"""

import os
import re
from typing import Final

from pktlb.compat.importer import keepalived, saved, words
from pktlb.compat.importer.notes import Draft, Note
from pktlb.compat.importer.output import text_of
from pktlb.compat.importer.source import decode, without_comment
from pktlb.errors import ConfigError

KINDS: Final = ("ipvsadm", "keepalived")
_RULE: Final = re.compile(
    r"(?:\S*/)?ipvsadm\s|-[AaEeDdCRSZ]\b|--(?:add|edit|delete|clear|set|zero)\b"
)
_INCLUDE: Final = re.compile(r"include[a-z]?\s+\S+")
_TOP: Final = re.compile(
    rf"(?:@\S+\s+|\$\w+\s*=\s*|[{{}}]\s*)*(?:{'|'.join(sorted(words.TOP))})(?:[\s{{]|$)"
)
"A word of the top level, also behind a configuration id, a parameter's name or a brace."


def convert(content: bytes, name: str, kind: str | None, follow: bool) -> tuple[str, list[Note]]:
    """The text of a configuration file, and notes on what could not be carried over. `kind` is one
    of `KINDS`; None: it is recognised. `follow`: included files are read, too. Raises
    `ConfigError`."""
    text = decode(content, name)
    kind = kind or recognise(text)
    if kind is None:
        raise ConfigError(
            f"{name}: looks neither like `ipvsadm -S` nor like a keepalived.conf (see --from)"
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
    """The kind of a text, or None: ipvsadm by the first line that is no comment, keepalived by a
    word of its top level."""
    is_first = True
    for line in text.split("\n"):
        bare = without_comment(line).strip()
        if is_first and _RULE.match(bare):
            return "ipvsadm"
        if _INCLUDE.fullmatch(bare) or ("{" in text and _TOP.match(bare)):
            return "keepalived"
        is_first = is_first and not bare
    return None
