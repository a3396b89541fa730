"""A model asked as a worker: its words come back, faults are values, and a kill costs one shard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.core.artifact import Model
from stages.core.errors import RecipeError
from stages.core.run import events
from stages.policy.engines import worker
from stages.policy.engines.client import parameters
from stages.policy.models import folders, memory
from tests.policy import drawing, parrot, tiny

WORDS = "<think>hm</think> <answer>I agree.</answer>"
SETTINGS = worker.GenerationSettings(max_tokens=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return parrot.model(tmp_path_factory.mktemp("parrot"), WORDS, positions=64)


def asked(folder: Path, model: Model, tasks: list[str], how: worker.GenerationSettings = SETTINGS) -> worker.Answers:
    work = tiny.work(folder)
    try:
        return worker.ask(model, tasks, how, work, name="judge")
    finally:
        work.events.close()


def test_a_reply_is_what_stands_after_the_thinking(model: Model, tmp_path: Path) -> None:
    found = asked(tmp_path, model, ["one", "three"])
    assert [reply.text for reply in found.replies] == ["I agree.", "I agree."]
    assert [reply.tokens for reply in found.replies] == [3 + 2, 5 + 2]  # bytes asked, the words, the end


def test_operations_are_two_for_each_parameter_and_token(model: Model, tmp_path: Path) -> None:
    count = sum(part.numel() for part in folders.load_model(model.path).parameters())
    assert parameters(model.path) == count
    assert asked(tmp_path, model, ["one", "three"]).costs["flops"]["sampling"] == 2 * count * (5 + 7)


def test_tied_weights_count_once(tmp_path: Path) -> None:
    tied = tiny.model(tmp_path)
    assert parameters(tied.path) == folders.load_model(tied.path).num_parameters()


def test_rows_sampled_at_once_are_those_whose_keys_and_values_fit(model: Model, monkeypatch: Any) -> None:
    # 1 layer x 1 head x width 8, a key and a value, 4 bytes, twice while growing: 128 bytes a token; a sixth of 7,680.
    monkeypatch.setattr(memory, "memory", lambda _: 7680)
    loaded = folders.load_model(model.path)
    assert [memory.rows_sampled_at_once(loaded, tokens) for tokens in (1, 5, 10, 999)] == [10, 2, 1, 1]


def test_a_task_that_leaves_no_room_is_a_fault_and_the_others_are_answered(model: Model, tmp_path: Path) -> None:
    found = asked(tmp_path, model, ["x" * 61, "one", "x" * 60]).replies
    assert [reply.fault for reply in found] == [worker.NO_ROOM, "", ""]
    assert (found[0].text, found[0].tokens, found[2].text) == ("", 0, "I agree.")


def test_a_reply_that_is_cut_off_or_never_stops_thinking_is_a_fault(model: Model, tmp_path: Path) -> None:
    cut = asked(tmp_path / "a", model, ["one"], worker.GenerationSettings(max_tokens=1)).replies[0]
    assert (cut.text, cut.fault, cut.tokens) == ("", worker.CUT_OFF, 4)
    endless = parrot.model(tmp_path / "endless", "<think>I wonder")
    assert asked(tmp_path / "b", endless, ["one"]).replies[0].fault == worker.NO_END


def test_no_task_costs_nothing_and_loads_nothing(model: Model, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("stages.policy.models.folders.load_model", lambda *_, **__: pytest.fail("weights were loaded"))
    assert asked(tmp_path, model, []) == worker.Answers([], {"flops": {"sampling": 0.0}})


def test_a_killed_worker_asks_no_shard_twice(model: Model, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(worker, "CHUNK", 2)
    tasks = ["a", "bb", "ccc", "dddd", "eeeee"]
    whole = asked(tmp_path / "whole", model, tasks)
    said = drawing.watched(monkeypatch, drawing.interrupt_at(2))
    with pytest.raises(KeyboardInterrupt):
        asked(tmp_path / "killed", model, tasks)
    assert asked(tmp_path / "killed", model, tasks) == whole
    assert said == [2, 2, 2, 1]
    told = events.read(tmp_path / "killed" / "events.jsonl", "progress")
    assert [one["done"] for one in told] == [2, 2, 4, 5] and told[0]["unit"] == "judge replies"


def test_other_tasks_never_find_the_shards_of_these(model: Model, tmp_path: Path) -> None:
    asked(tmp_path, model, ["one"])
    found = asked(tmp_path, model, ["three"])
    assert found.replies[0].tokens == 7


def test_a_workers_own_chat_template_wraps_the_task_unless_the_manner_names_another(tmp_path: Path) -> None:
    chatty = parrot.model(tmp_path / "model", "yes")
    (chatty.path / "chat_template.jinja").write_text(
        "[{{ messages[0].content }}]{% if add_generation_prompt %}>{% endif %}"
    )
    assert asked(tmp_path / "a", chatty, ["ok"]).replies[0].tokens == len("[ok]>") + 2
    plain = worker.GenerationSettings(max_tokens=4, template="Do: {prompt}!")
    assert asked(tmp_path / "b", chatty, ["ok"], plain).replies[0].tokens == len("Do: ok!") + 2


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"max_tokens": 0}, {"template": "r1_zeor"}])
def test_a_manner_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        worker.GenerationSettings(**wrong)
