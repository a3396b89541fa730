"""The key kept out of what is written down: a text of a server's enters, the text without the key leaves.

Answers are data, so only what can be no ordinary word is blotted out of them. Errors are read by people and copied into
reports: there a short key goes too, and a long one also where something invisible was put between its letters.
"""

from __future__ import annotations

import re

BLOT = "[the key]"
SECRET_FROM, WORD_FROM = 12, 4
"""Letters of the shortest real key, and of the shortest dummy (`none`, `EMPTY`) that is looked for in errors."""


def out_of_answer(text: str, key: str) -> str:
    """Return an answer without a key of 12 letters or more; a shorter one is a dummy, and may be the answer itself."""
    return text.replace(key, BLOT) if len(key) >= SECRET_FROM else text


def out_of_error(text: str, key: str) -> str:
    """Return the whole text of an error without the key, to be cut and squeezed afterwards.

    A key of 12 letters or more goes in either case and with anything but visible ASCII between its letters; one of 4 to
    11 goes where it stands as a word.
    """
    if len(key) >= SECRET_FROM:
        return re.sub(r"[^!-~]*".join(map(re.escape, key)), BLOT, text, flags=re.IGNORECASE)
    return re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", BLOT, text) if len(key) >= WORD_FROM else text
