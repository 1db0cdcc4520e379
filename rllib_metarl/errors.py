"""The one exception that means: a person can fix this."""

from __future__ import annotations

import re

LONGEST = 1_500
"""Characters of a message at most."""
_LONG_WORD = re.compile(r"\S{240,}")


class UserError(Exception):
    """A mistake of the user's, reported in one message: what, where and the fix.

    The command line prints it as ``error: ...`` without a traceback and exits with code 2. What
    the message quotes is shortened here, however long it is.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text of at most ``longest`` characters: long words, then its middle, are left out."""
    if len(text) <= longest:
        return text
    text = _LONG_WORD.sub(lambda word: _without_middle(word.group(), 160, 60), text)
    if len(text) <= longest:
        return text
    return _without_middle(text, longest * 2 // 3, longest // 4)


def _without_middle(text: str, head: int, tail: int) -> str:
    return f"{text[:head]}... ({len(text) - head - tail:,} characters) ...{text[-tail:]}"
