"""Conversations for the tiny policy: short, unequal in length, every token a byte or a tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stages.core.artifact import Conversations, Draft, Model
from stages.core.rows import Conversation, write_rows
from tests.policy import tiny

SETTINGS: dict[str, Any] = {"template": tiny.TEMPLATE, "epochs": 2, "batch_size": 4, "learning_rate": 5e-3}


def rows(count: int) -> list[Conversation]:
    return [Conversation(f"row-{n}", f"{n}+{n}=", "so " * (n % 4) + f"{n} twice", str(2 * n)) for n in range(count)]


def conversations(folder: Path, given: Sequence[Conversation]) -> Conversations:
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "conversations.jsonl", given)
    return Conversations(path=folder, record=tiny.record("conversations", folder.name))


def model(home: Path) -> Model:
    """The tiny model in `home`, made once."""
    folder = home / "model"
    return Model(path=folder, record=tiny.record("model", "tiny")) if folder.is_dir() else tiny.model(folder)


def run(
    folder: Path,
    inputs: Any,
    changes: dict[str, Any] | None = None,
    listener: Callable[[dict[str, Any]], None] | None = None,
    **runtime: Any,
) -> Draft:
    """Run the stage in `folder` with SETTINGS and some changes."""
    from stages import sft

    place = tiny.work(folder, listener, **runtime)
    try:
        return sft.run(sft.Recipe(**{**SETTINGS, **(changes or {})}), inputs, place)
    finally:
        place.events.close()
