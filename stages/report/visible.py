"""Any text in, a text that cannot play tricks out: control and direction characters become something one can see.

Model text is hostile: a NUL ends a string in some viewers, a right-to-left override reorders the words around it, a
lone surrogate cannot be written as UTF-8. Escaping markup is the template's task; this is what escaping leaves.
"""

from __future__ import annotations

import re

_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def visible(text: str) -> str:
    """Return the text with each hidden character replaced by a picture (NUL is ␀) or its code in brackets."""
    return _HIDDEN.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return f"⟨U+{code:04X}⟩"
