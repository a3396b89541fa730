"""Conversations are examples when they are asked for, and what is known of them before is what they then are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from stages.core.data import imitation, surveyed
from stages.core.data.surveyed import Surveyed
from stages.core.errors import InputError
from stages.core.rowfile import RowFile
from stages.core.rows import Conversation, write_rows
from stages.core.run import beside
from stages.core.run.runtime import Runtime
from tests.core.data.test_imitation import contract, words

LIMIT = 13


def rows(folder: Path, *own: Conversation) -> RowFile[Conversation]:
    folder.mkdir(exist_ok=True)
    words().save(str(folder / "tokenizer.json"))
    write_rows(folder / "rows.jsonl", own)
    return RowFile(folder / "rows.jsonl", Conversation)


def look(given: RowFile[Conversation], folder: Path) -> tuple[Surveyed, int, list[imitation.LeftOut]]:
    fit = partial(imitation.fitting, limit=LIMIT)
    return surveyed.surveyed(given, contract(), folder, fit, limit=LIMIT, runtime=Runtime())


def test_rows_are_what_they_were_when_they_were_looked_at_on_all_cores_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [Conversation(f"r{n}", "1" * (1 + n % 3), "abc"[: n % 4], "2") for n in range(11)]
    own[4] = Conversation("stray", "1", "a<think>b", "2")
    own[7] = Conversation("long", "1", "abcabcabcabcabc", "2")
    given = rows(tmp_path, *own)
    left: list[imitation.LeftOut] = []
    wanted, longer = imitation.fitting(imitation.examples(own, contract(), words(), left), LIMIT)
    monkeypatch.setattr(surveyed, "STRETCH", 4)
    for processes in (1, 2):
        monkeypatch.setattr(beside, "processes", lambda *_, own=processes: own)
        found, dropped, bad = look(given, tmp_path)
        assert (list(found), dropped, bad) == (wanted, longer, left) and (dropped, len(bad)) == (1, 1)
        assert list(found.tokens) == [one.tokens for one in wanted]
        assert list(found.trained) == [len(one.completion_ids) for one in wanted]
        assert found.ends == Surveyed.of(wanted).ends and found[2:4] == wanted[2:4]


def test_rows_none_of_which_can_be_trained_on_are_an_error_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no row is left to train on"):
        look(rows(tmp_path / "bad", Conversation("stray", "1", "a<think>b", "2")), tmp_path / "bad")
    with pytest.raises(InputError, match="all 1 rows are longer than 13 tokens"):
        look(rows(tmp_path / "long", Conversation("long", "1", "abcabcabcabcabc", "2")), tmp_path / "long")
