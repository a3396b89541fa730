"""A checkpoint is whole or absent, and the newest whole one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.policy.training.checkpoint import MANIFEST, Checkpoints, folder_fault, step_of


def save(checkpoints: Checkpoints, step: int, text: str = "weights") -> Path:
    draft = checkpoints.fresh_draft()
    (draft / "inner").mkdir()
    (draft / "weights.bin").write_text(text * 100)
    (draft / "inner" / "state.json").write_text("{}")
    return checkpoints.seal(draft, step)


def torn(checkpoints: Checkpoints) -> tuple[Path | None, list[str]]:
    said: list[str] = []
    return checkpoints.latest(said.append), said


def test_the_newest_is_found_by_its_step_not_by_its_spelling(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run")
    save(checkpoints, 999_998)
    newest = save(checkpoints, 1_000_000)
    assert torn(checkpoints) == (newest, [])
    assert step_of(newest) == 1_000_000


def test_only_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20, 30, 40):
        save(checkpoints, step)
    assert [path.name for path in checkpoints.whole()] == ["step-000040", "step-000030"]


@pytest.mark.parametrize("harm", ["cut", "changed", "missing", "no manifest", "half a manifest"])
def test_a_torn_checkpoint_is_ignored_and_the_previous_is_used(tmp_path: Path, harm: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    previous, newest = save(checkpoints, 10), save(checkpoints, 20)
    weights = newest / "weights.bin"
    if harm == "cut":
        weights.write_text("weights")
    elif harm == "changed":
        weights.write_text("weightz" * 100)
    elif harm == "missing":
        (newest / "inner" / "state.json").unlink()
    elif harm == "no manifest":
        (newest / MANIFEST).unlink()
    else:
        (newest / MANIFEST).write_text('{"weights.bin": {"si')
    found, said = torn(checkpoints)
    assert found == previous
    assert len(said) == 1 and "step-000020 is torn" in said[0]
    assert not newest.exists(), "a torn checkpoint is removed, so that its name is free for a whole one"


def test_a_draft_is_never_taken_for_a_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    (checkpoints.fresh_draft() / "weights.bin").write_text("half")
    assert torn(checkpoints) == (None, [])
    assert list(checkpoints.fresh_draft().iterdir()) == [], "a new draft starts empty"


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 10, "old")
    again = save(checkpoints, 10, "new")
    assert (again / "weights.bin").read_text().startswith("new")
    assert folder_fault(again) == ""
