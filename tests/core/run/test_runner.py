"""A node is built once, resumed after a kill, and never built on something that was changed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stages.core.artifact import Prompts, Scores
from stages.core.errors import DiskError, InputError, RecipeError, StageError, TamperedError
from stages.core.recipe.loading import Loaded, load
from stages.core.run import events
from stages.core.run.runner import run_node
from stages.core.storage.store import Store
from tests.core import toy_make, toy_score
from tests.core.in_order import run_nodes

pytestmark = pytest.mark.usefixtures("toys")
ROOT = Path(__file__).resolve().parents[3]


def _make(*overrides: str) -> Loaded:
    return load(None, "make", overrides)


def test_a_node_is_built_once_and_reused_after(store: Store) -> None:
    told: list[dict[str, Any]] = []
    made = run_node(_make("seed=5"), store, told.append)
    assert isinstance(made, Prompts)
    assert made.address == "make@1"
    assert [row.problem for row in made.rows()] == ["add 0 + 5", "add 1 + 5", "add 2 + 5"]
    assert [line["event"] for line in told] == ["attempt", "step", "step", "step", "done", "sealed"]
    told.clear()
    assert run_node(_make("seed=5"), store, told.append) == made
    assert told == [{"event": "reused", "address": "make@1", "name": "make", "path": str(made.path)}]
    assert run_node(_make("seed=6"), store).address == "make@2"


def test_runtime_is_no_part_of_what_an_artifact_is(store: Store) -> None:
    assert run_node(_make(), store) == run_node(_make("runtime.threads=2", "runtime.log_every=9"), store)


def test_the_record_says_where_it_came_from(store: Store) -> None:
    made = run_node(_make(), store)
    scored = run_node(load(None, "score", ["inputs.prompts=make@1"]), store)
    record = scored.record
    assert isinstance(scored, Scores)
    assert (record.inputs, record.stage, record.version) == ({"prompts": "make@1"}, "score", toy_score.VERSION)
    assert record.payload["inputs"] == {"prompts": made.fingerprint}
    assert made.metrics == {"rows": 3, "share": None}
    proof = record.provenance
    assert set(proof) == {"commit", "dirty", "argv", "versions", "device", "time", "seconds"}
    assert proof["argv"] == sys.argv
    assert "python" in proof["versions"]
    assert proof["device"]["asked"] == "auto"


def test_the_resolved_recipe_beside_the_artifact_builds_the_same_again(store: Store) -> None:
    run_node(_make("rows=2"), store)
    scored = run_node(load(None, "score", ["inputs.prompts=make", "samples=7"]), store)
    again = load(scored.path / "recipe.yaml")
    assert again.inputs == {"prompts": "make@1"}
    assert run_node(again, store) == scored


def test_scratch_is_gone_before_anything_is_hashed(store: Store) -> None:
    made = run_node(_make(), store)
    assert set(made.record.files) == {"prompts.jsonl", "recipe.yaml", "events.jsonl"}
    assert not (made.path / "scratch").exists()


def test_a_tampered_input_stops_the_work_and_says_the_way_out(store: Store) -> None:
    made = run_node(_make(), store)
    (made.path / "prompts.jsonl").write_text("{}\n")
    with pytest.raises(TamperedError, match="`make@1` is not what was sealed") as caught:
        run_node(load(None, "score", ["inputs.prompts=make@1"]), store)
    assert "r1 artifacts rm make@1" in caught.value.hint
    with pytest.raises(TamperedError):
        run_node(_make(), store)
    store.remove("make@1")
    assert run_node(_make(), store).address == "make@2"


def test_inputs_must_be_there_and_of_the_right_kind(store: Store) -> None:
    with pytest.raises(RecipeError, match="`score` needs the input `prompts`"):
        run_node(load(None, "score"), store)
    run_node(_make(), store)
    run_node(load(None, "score", ["inputs.prompts=make"]), store)
    with pytest.raises(InputError, match="`score@1` is of kind scores, and prompts is needed here"):
        run_node(load(None, "score", ["inputs.prompts=score@1"]), store)
    nodes = [_make(), load(None, "score", ["inputs.prompts=make", "inputs.parent=make"])]
    with pytest.raises(InputError, match="`score` takes scores as `parent`, and `make` gives prompts"):
        run_nodes(nodes, store)


def test_a_stage_that_returns_nothing_is_an_error_and_seals_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy_make, "run", lambda recipe, inputs, work: None)
    with pytest.raises(StageError, match="returned NoneType"):
        run_node(_make(), store)
    assert store.all() == []


def test_what_is_refused_before_any_work_leaves_nothing_and_what_was_done_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(recipe: Any, inputs: Any, work: Any) -> None:
        if recipe.seed:
            (work.scratch / "done.txt").write_text("hours of work")
        raise InputError("no such device")

    monkeypatch.setattr(toy_make, "run", refuse)
    for overrides, left in ((), 0), (("seed=1",), 1):
        with pytest.raises(InputError):
            run_node(_make(*overrides), store)
        assert len([path for path in (store.home / ".work").iterdir() if path.is_dir()]) == left


def test_what_outside_files_really_are_is_part_of_the_fingerprint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy_make, "identity", lambda recipe: {"source_sha256": "a"}, raising=False)
    first = run_node(_make(), store)
    monkeypatch.setattr(toy_make, "identity", lambda recipe: {"source_sha256": "b"}, raising=False)
    assert run_node(_make(), store).fingerprint != first.fingerprint


def test_a_full_disk_leaves_the_work_resumable_and_earlier_artifacts_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_node(_make(), store)
    whole = Path.write_text

    def full(path: Path, text: str, *args: Any, **options: Any) -> int:
        if path.name == "2.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, text, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(DiskError) as caught:
            run_node(_make("seed=1"), store)
    assert str(store.home) in caught.value.what
    assert caught.value.hint == "free space, then run the same command: it resumes"
    store.verify("make@1")
    resumed = run_node(_make("seed=1"), store)
    assert [line["text"] for line in events.read(resumed.path / "events.jsonl", "note")] == ["kept 0", "kept 1"]


def test_ctrl_c_passes_through_and_leaves_the_work_resumable(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(line: dict[str, Any]) -> None:
        if line["event"] == "step" and line["step"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_node(_make(), store, interrupted)
    assert store.all() == []
    resumed = run_node(_make(), store)
    assert len(events.read(resumed.path / "events.jsonl", "note")) == 2
    assert len(events.read(resumed.path / "events.jsonl", "attempt")) == 2


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
import stages
stages.STAGES["make"] = "tests.core.toy_make"
from stages.core.recipe.loading import load
from stages.core.run.runner import run_node
from stages.core.storage.store import Store
run_node(load(None, "make", ["rows=4", "pause=0.3"]), Store(Path({home!r})))
"""


def test_a_node_killed_with_sigkill_resumes_to_the_same_bytes(store: Store, tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD.format(root=str(ROOT), home=str(store.home))])
    log, deadline = None, time.time() + 30
    while not (log and len(events.read(log, "step")) >= 2) and time.time() < deadline:
        log = next(iter(store.home.glob(".work/make-*/events.jsonl")), None)
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert store.all() == []
    node = _make("rows=4", "pause=0.3")
    resumed, straight = run_node(node, store), run_node(node, Store(tmp_path / "other"))
    assert resumed.record.files["prompts.jsonl"] == straight.record.files["prompts.jsonl"]
    assert resumed.fingerprint == straight.fingerprint
    kept = len(events.read(resumed.path / "events.jsonl", "note"))
    assert kept >= 2
    assert resumed.record.provenance["seconds"] >= 0.3 * (kept - 1) + 0.3 * (4 - kept) - 0.2
