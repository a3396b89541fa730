"""A plan carried out: inputs first, one failure costs only what needs it, several jobs make what one job makes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.artifact import Artifact
from stages.core.errors import R1Error
from stages.core.recipe.loading import Loaded, load_pipeline
from stages.core.run import schedule
from stages.core.run.events import Listener
from stages.core.run.plan import Step, plan
from stages.core.storage.disk import try_lock
from stages.core.storage.store import Store
from tests.core.in_order import run_nodes

NODES = """nodes:
  one: {stage: prepare, recipe: {source: FOLDER/one.jsonl}}
  broken: {stage: prepare, recipe: {source: FOLDER/broken.jsonl}}
  other: {stage: eval, extends: eval_quick, inputs: {model: "world:base", prompts: broken}}
  same: {stage: prepare, recipe: {source: FOLDER/one.jsonl}}
  two: {stage: prepare, recipe: {source: FOLDER/two.jsonl}}
"""


class Notes:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []

    def begins(self, step: Step) -> Listener:
        self.lines.append(f"{step.node.name} begins")
        return self.events.append

    def built(self, step: Step, artifact: Artifact) -> None:
        self.lines.append(f"{step.node.name} is {artifact.address}")

    def failed(self, step: Step, error: R1Error) -> None:
        self.lines.append(f"{step.node.name} failed")


@pytest.fixture
def steps(tmp_path: Path, store: Store) -> list[Step]:
    """Five nodes: a broken one, one that needs it, and two that are the same thing."""
    for name, line in (("one", '{"problem": "1 + 1", "answer": "2"}'), ("two", '{"problem": "1 + 2", "answer": "3"}')):
        (tmp_path / f"{name}.jsonl").write_text(line + "\n", encoding="utf-8")
    (tmp_path / "broken.jsonl").write_text("{", encoding="utf-8")
    (tmp_path / "all.yaml").write_text(NODES.replace("FOLDER", str(tmp_path)), encoding="utf-8")
    return plan(load_pipeline(tmp_path / "all.yaml"), store)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_node_that_fails_costs_only_what_needs_it(steps: list[Step], store: Store, jobs: int) -> None:
    notes = Notes()
    outcome = schedule.carry_out(steps, store, notes, jobs)
    assert {name: each.address for name, each in outcome.built.items()} == {
        "one": "one@1",
        "same": "one@1",
        "two": "two@1",
    }
    assert list(outcome.failed) == ["broken"] and "broken.jsonl:1" in str(outcome.failed["broken"])
    assert outcome.left == ["other"]
    assert sorted(notes.lines) == sorted(
        ["one begins", "broken begins", "two begins", "one is one@1", "same is one@1", "two is two@1", "broken failed"]
    )
    assert [line["node"] for line in notes.events if line["event"] == "attempt"].count("one") == 1


def test_several_jobs_make_what_one_job_makes(steps: list[Step], store: Store, tmp_path: Path) -> None:
    good = [step for step in steps if step.node.name in ("one", "two")]
    aside = schedule.carry_out(good, store, Notes(), jobs=2).built
    alone = run_nodes([step.node for step in good], Store(tmp_path / "elsewhere"))
    for name, artifact in alone.items():
        assert aside[name].fingerprint == artifact.fingerprint
        assert (aside[name].path / "prompts.jsonl").read_bytes() == (artifact.path / "prompts.jsonl").read_bytes()


def test_a_killed_process_is_told_and_what_it_built_resumes(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        'nodes:\n  scores: {stage: eval, extends: eval_quick, inputs: {model: "world:base"}, recipe: {problems: 16}}\n'
    )
    (tmp_path / "all.yaml").write_text(text, encoding="utf-8")
    nodes = load_pipeline(tmp_path / "all.yaml")

    class Killer(Notes):
        def begins(self, step: Step) -> Listener:
            def hear(line: dict[str, Any]) -> None:
                self.events.append(line)
                if line["event"] == "attempt":
                    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
                    builders = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
                    os.kill(int(builders[-1]), signal.SIGKILL)

            return hear

    outcome = schedule.carry_out(plan(nodes, store), store, Killer(), jobs=2)
    assert "was killed" in outcome.failed["scores"].what and "resumes" in outcome.failed["scores"].hint
    again = plan(nodes, store)
    assert again[0].action == "resume" and again[0].fingerprint
    folder = store.workspace_path("scores", again[0].fingerprint)
    end = time.monotonic() + 20
    while (held := try_lock(folder)) is None:
        assert time.monotonic() < end, "somebody still works there"
    os.close(held)


def test_two_nodes_that_fetch_the_same_source_at_once_are_both_built(tmp_path: Path, store: Store) -> None:
    node = '{stage: eval, extends: eval_quick, inputs: {model: "world:NAME"}, recipe: {problems: 4, samples: 2}}'
    lines = [f"  {name}: {node.replace('NAME', name)}\n" for name in ("base", "llama-nano")]
    (tmp_path / "all.yaml").write_text("nodes:\n" + "".join(lines), encoding="utf-8")
    outcome = schedule.carry_out(plan(load_pipeline(tmp_path / "all.yaml"), store), store, Notes(), jobs=2)
    assert list(outcome.built) and not outcome.failed, outcome.failed


def test_the_time_side_by_side_counts_what_waits_for_what(steps: list[Step]) -> None:
    seconds = {"one": 3.0, "broken": 5.0, "other": 4.0, "same": 0.0, "two": 2.0}
    assert schedule.makespan(steps, seconds, jobs=1) == 14.0
    assert schedule.makespan(steps, seconds, jobs=2) == 9.0  # one, same and two beside broken; then other
    assert schedule.makespan(steps, seconds, jobs=9) == 9.0
    assert schedule.makespan([], {}, jobs=2) == 0.0


def test_two_nodes_are_built_at_once_where_that_ends_sooner(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "available_cores", lambda: [0, 1])
    monkeypatch.setattr(schedule.devices, "ram", lambda: 10**11)
    whole = plan(load_pipeline("pipeline", ["runtime.device=cpu"]), store)
    assert schedule.jobs_that_pay(whole, store) == 2
    assert schedule.jobs_that_pay(whole[:1], store) == 1  # nothing to build beside it
    monkeypatch.setattr(schedule.devices, "ram", lambda: 10**9)
    assert schedule.jobs_that_pay(whole, store) == 1
    monkeypatch.setattr(schedule, "available_cores", lambda: [0])
    assert schedule.jobs_that_pay(whole, store) == 1


@given(st.lists(st.floats(0, 100), min_size=5, max_size=5), st.integers(1, 6))
def test_no_number_of_jobs_beats_the_longest_chain_or_the_cores(lengths: list[float], jobs: int) -> None:
    names = ["one", "broken", "other", "same", "two"]
    seconds = dict(zip(names, lengths, strict=True))
    steps = plan_of(names)
    took = schedule.makespan(steps, seconds, jobs)
    assert max(seconds["broken"] + seconds["other"], sum(lengths) / jobs) - 1e-6 <= took <= sum(lengths) + 1e-6


def plan_of(names: list[str]) -> list[Step]:
    """Nodes of those names of which `other` needs `broken`; nothing is read or built."""
    return [
        Step(Loaded("prepare", name, None, {"prompts": "broken"} if name == "other" else {}), "build", "", "", name)
        for name in names
    ]
