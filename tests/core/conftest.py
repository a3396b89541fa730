"""Toy stages, and a store of their own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

import stages
from stages.core.storage.store import Store

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the toy stages as `make` and `score`."""
    monkeypatch.setitem(stages.STAGES, "make", "tests.core.toy_make")
    monkeypatch.setitem(stages.STAGES, "score", "tests.core.toy_score")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "home")
