"""Where a model comes from is read off the records, and a teacher that learned from rewards alone is named as such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.core.artifact import Artifact, Model, Record
from stages.core.fingerprint import fingerprint
from stages.core.storage import lineage
from stages.core.storage.store import Store


def sealed(store: Store, name: str, stage: str, inputs: dict[str, str], kind: str = "model", **more: Any) -> Artifact:
    payload = {"name": name, **more.pop("payload", {})}
    record = Record(
        kind=kind,
        name=name,
        number=0,
        fingerprint=fingerprint(payload),
        payload=payload,
        inputs=inputs,
        stage=stage,
        version=1,
        **more,
    )
    with store.workspace(name, record.fingerprint) as folder:
        (folder / "x.txt").write_text(name)
        return store.seal(folder, record)


@pytest.fixture
def store(r1_home: Path) -> Store:
    found = Store(r1_home)
    sealed(found, "base", "import", {})
    sealed(found, "prompts", "import", {}, kind="prompts")
    sealed(found, "judge", "reward-model", {"model": "cold@1"}, kind="judge")
    sealed(found, "zero", "rl", {"model": "base@1", "prompts": "prompts@1"})
    sealed(found, "cold", "sft", {"model": "base@1"})
    sealed(found, "rl1", "rl", {"model": "cold@1", "prompts": "prompts@1"})
    sealed(found, "zero-judged", "rl", {"model": "zero@1", "helpful": "judge@1"})
    sealed(found, "lost", "rl", {"model": "gone@1"})
    return found


@pytest.mark.parametrize(
    ("name", "zero"),
    [("zero", True), ("zero-judged", True), ("rl1", False), ("cold", False), ("base", False), ("lost", False)],
)
def test_only_rl_from_a_base_makes_a_zero(store: Store, name: str, zero: bool) -> None:
    assert lineage.variant(store.open(name)) == (lineage.ZERO if zero else "")


def test_a_student_of_zero_is_no_zero(store: Store) -> None:
    sealed(store, "pupil", "distill", {"student": "base@1", "teacher": "zero@1"})
    pupil = store.open("pupil")
    assert [one.name for one in lineage.line(pupil)] == ["pupil", "base"]
    assert lineage.variant(pupil) == ""


def test_the_hub_s_own_zero_is_recognised_by_name(store: Store) -> None:
    source = {"recipe": {"source": {"hub": "deepseek-ai/DeepSeek-R1-Zero"}}}
    assert lineage.variant(sealed(store, "hub", "import", {}, payload=source)) == lineage.ZERO


def test_data_names_its_author_and_what_it_cost_but_not_what_the_author_learned_from(store: Store) -> None:
    def data(name: str, stage: str, inputs: dict[str, str], kind: str, **flops: float) -> Artifact:
        return sealed(store, name, stage, inputs, kind, metrics={"flops": flops})

    data("early", "sample", {"model": "base@1"}, "rollouts", sampling=100.0)
    data("cold-data", "curate", {"rollouts": "early@1"}, "conversations", sampling=1.0)
    sealed(store, "r1", "sft", {"model": "base@1", "conversations": "cold-data@1"})
    data("late", "sample", {"model": "r1@1"}, "rollouts", sampling=5.0)
    traces = data("traces", "curate", {"rollouts": "late@1", "general": "gone@1"}, "conversations", sampling=2.0)
    cache = data("cache", "logprobs", {"teacher": "zero@1", "conversations": "traces@1"}, "logprobs", teacher=0.5)
    assert lineage.data_flops(traces) == 7.0 and lineage.data_flops(cache) == 7.5
    authors = [lineage.author(one) for one in (traces, cache, store.open("prompts"))]
    assert [one and one.address for one in authors] == ["r1@1", "zero@1", None]


def test_an_artifact_in_no_store_is_its_own_line(tmp_path: Path) -> None:
    alone = Model(path=tmp_path / "model", record=storeless())
    assert lineage.line(alone) == [alone]
    assert lineage.author(alone) is None and lineage.data_flops(alone) == 0.0


def storeless() -> Record:
    return Record(kind="model", name="x", number=1, fingerprint="0", payload={}, inputs={}, stage="rl", version=1)
