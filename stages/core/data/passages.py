"""What a question is asked about: a column of a row enters, one text leaves.

A passage is a text, or comes in pieces: a list of texts, titles with their sentences (HotpotQA), objects of a title and
a text. Pieces are joined by blank lines. What is none of these is not guessed at: whoever reads it says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.core.data import columns

COLUMNS = ("article", "passage", "context")
"""What a question is asked about, which stands before it."""
_TITLES = ("title", "titles")
_BODIES = ("sentences", "text", "texts", "paragraphs", "paragraph", "paragraph_text", "contexts", "content", "passage")


def below(row: Mapping[str, Any], problem: str, mapped: Mapping[str, str], unread: set[str]) -> str:
    """Return a problem below the passage of its row; a mapped problem stays as it is.

    `unread` gets the columns whose passage cannot be joined, or is no part of a mapped problem.
    """
    taken = {columns.top(path) for path in mapped.values()}
    said = {name: joined(row[name]) for name in COLUMNS if row.get(name) and name not in taken}
    own = "problem" in mapped
    unread |= {name for name, each in said.items() if each is None or (own and each not in problem)}
    passage = "" if own else next(filter(None, said.values()), "")
    return f"{passage}\n\n{problem}" if passage and passage not in problem else problem


def joined(value: Any) -> str | None:
    """Return a passage as one text, "" for an empty one, None for what cannot be joined."""
    if value is None or isinstance(value, str):
        return (value or "").strip()
    parts = _parts(value)
    return None if parts is None else "\n\n".join(part for part in parts if part)


def _parts(value: Any) -> list[str] | None:
    """The pieces of a passage, None where one of them is something else."""
    if isinstance(value, dict):
        return _of_object(value)
    if not isinstance(value, list):
        return None
    found = [_piece(each) for each in value]
    return None if None in found else [each for each in found if each is not None]


def _piece(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return (value or "").strip()
    if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str):
        return _titled(value[0], value[1])
    parts = _of_object(value) if isinstance(value, dict) else None
    return None if parts is None else "\n\n".join(parts)


def _of_object(value: dict[str, Any]) -> list[str] | None:
    """The pieces of an object: its texts, each behind its title where it has one."""
    if not value:
        return []
    if "role" in value:  # a message
        return None
    body = next((value[name] for name in _BODIES if value.get(name) is not None), None)
    title = next((value[name] for name in _TITLES if value.get(name) is not None), "")
    if body is None:
        return None
    if isinstance(title, list):
        same = isinstance(body, list) and len(body) == len(title) and all(isinstance(each, str) for each in title)
        found = [_titled(*pair) for pair in zip(title, body, strict=True)] if same else [None]
        return None if None in found else [each for each in found if each is not None]
    if not title and isinstance(body, list):
        return _parts(body)
    said = _titled(title, body) if isinstance(title, str) else None
    return None if said is None else [said]


def _titled(title: str, body: Any) -> str | None:
    """A title with its text or its sentences below it."""
    sentences = [body] if isinstance(body, str) else body
    if not isinstance(sentences, list) or not all(isinstance(each, str) for each in sentences):
        return None
    said = " ".join(each.strip() for each in sentences if each.strip())
    return "\n".join(part for part in (title.strip(), said) if part)
