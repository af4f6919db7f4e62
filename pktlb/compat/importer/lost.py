"""Notes on statements of a keepalived.conf that are not carried over, wholly or in part."""

from pktlb.compat.importer.notes import Draft
from pktlb.compat.importer.tree import Statement

_BEHIND = "keepalived reads one setting a line, so this has no effect there, nor is it carried over"


def lose(statement: Statement, draft: Draft, sentence: str, about: str = "") -> None:
    """Note a statement, and keep its lines and the lines of its block."""
    title = " ".join(statement.words[:2] if statement.body is not None else statement.words)
    text = f"{title}{about}: {sentence}"
    draft.note(statement.place, text, tuple(statement.lines()))


def lose_behind(statement: Statement, draft: Draft, known: int) -> None:
    """Note the words behind the first `known` ones of a setting, on the same line."""
    rest = statement.words[known:]
    if not rest and not statement.body:
        return
    block = () if statement.body is None else ("{ ... }",)
    behind = " ".join([*rest, *block])
    title = " ".join(statement.words[:known])
    draft.note(statement.place, f"{behind} (behind {title}): {_BEHIND}", tuple(statement.lines()))
