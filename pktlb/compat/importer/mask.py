"""Hides secrets of imported files: the result is kept in git and printed on terminals."""

import re
from typing import Final

_MASK: Final = "***"
_VALUE: Final = r"""(?:"[^"]*"?|[^\s"{}]\S*[^\s"{}]|[^\s"{}])"""
_NAME: Final = r"(?:pass(?:wd|word|phrase)?|pwd|secret|token|api[-_]?key)"
_SECRETS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # `auth_pass X`, `password X` of keepalived: all words up to a brace
        rf"((?<![\w-])(?:auth_pass|password)\s+){_VALUE}(?:\s+{_VALUE})*",
        # of scripts: `--password X`, `--token=X`, `PASSWORD=X`, `secret: X`, `--user name:X`
        rf"(--?{_NAME}\s+)[^\s\"{{}}]+",
        rf"({_NAME}\w{{0,20}}\s*[=:]\s*){_VALUE}",
        r"(--user[\s=]+[^\s:\"]+:)[^\s\"]+",
        # of addresses and headers: `http://name:X@host`, `Authorization: Basic X`
        r"(://[^\s/:@\"]*:)[^\s/@\"]+(?=@)",
        r"(authorization:\s*\w+\s+)[^\s\"']+",
    )
)
"Each matches a secret; its first group is the text before the secret."


def masked(line: str) -> str:
    """The line with stars in the place of anything that looks like a secret."""
    for secret in _SECRETS:
        line = secret.sub(rf"\g<1>{_MASK}", line)
    return line
