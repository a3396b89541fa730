"""An engine with weights of its own follows the policy in training, and one that does not is found out."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from stages import rl
from stages.core.errors import EngineError, InputError
from stages.core.rows import Prompt, write_rows
from stages.core.sampling import Completion, Finish, Request
from stages.policy.engines import opening
from stages.policy.engines.local.engine import LocalEngine
from stages.policy.models import folders
from tests.policy import tiny


class Apart(LocalEngine):
    """The transformers engine on a copy of the policy: what it samples from is what it was last given."""

    def __init__(self, model: Any, contract: Any, **more: Any) -> None:
        super().__init__(copy.deepcopy(model), contract, **more)


class Stale(Apart):
    """Leaves one tensor as it was, after the rehearsal."""

    def renew(self, weights: Iterable[tuple[str, Any]], version: int) -> None:
        kept = [pair for pair in weights if not version or pair[0] != "model.layers.1.mlp.down_proj.weight"]
        super().renew(kept, version)


class Lost(Apart):
    """Loses the third completion the first time it is asked for, and one prompt for ever."""

    def __init__(self, model: Any, contract: Any, **more: Any) -> None:
        super().__init__(model, contract, **more)
        self.asked = 0

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        for request, completion in super().sample(requests):
            self.asked += 1
            lost = self.asked == 3 or request.key == (0, 0)
            yield request, Completion(finish=Finish.LOST, fault="the engine died") if lost else completion


@pytest.fixture
def inputs(tmp_path: Path) -> rl.Inputs:
    return rl.Inputs(model=tiny.model(tmp_path / "model"), prompts=tiny.prompts(tmp_path / "prompts", 8))


def opens(monkeypatch: pytest.MonkeyPatch, kind: type[LocalEngine]) -> None:
    monkeypatch.setattr(opening, "open_engine", lambda folder, **how: kind.open(folder, **how))


class Slow(Apart):
    """Says so of itself, at each rollout."""

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        self.notes[:] = [] if self.weights else ["sampling is slow here"]
        return super().sample(requests)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = folders.load_model(folder).state_dict()
    return state


def test_a_run_with_an_engine_apart_ends_in_the_weights_of_one_that_samples_the_policy_itself(
    inputs: rl.Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.run(tmp_path / "itself", inputs, {"steps": 6})
    opens(monkeypatch, Apart)
    tiny.run(tmp_path / "apart", inputs, {"steps": 6})
    itself, apart = weights(tmp_path / "itself"), weights(tmp_path / "apart")
    assert all(torch.equal(itself[name], apart[name]) for name in itself)


def test_what_an_engine_says_of_itself_is_told(
    inputs: rl.Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, Slow)
    heard: list[dict[str, Any]] = []
    tiny.run(tmp_path / "run", inputs, {"steps": 4}, heard.append)
    assert [event["text"] for event in heard if event["event"] == "warning"].count("sampling is slow here") == 1


def test_an_engine_that_keeps_a_layer_ends_the_run_with_both_numbers(
    inputs: rl.Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, Stale)
    with pytest.raises(EngineError, match=r"is [\d.e-]+ nats a token from the trainer, above [\d.e-]+") as caught:
        tiny.run(tmp_path / "run", inputs)
    assert "runtime.engine=transformers" in caught.value.hint


def test_what_an_engine_lost_is_asked_again_and_never_counts_as_wrong(
    inputs: rl.Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, Lost)
    heard: list[dict[str, Any]] = []
    tiny.run(tmp_path / "run", inputs, {"steps": 2}, heard.append)
    steps = [event for event in heard if event["event"] == "step"]
    assert [step["failed"] for step in steps] == [1 / 16] * 2  # one of 16 is lost for ever, none else
    assert all(math.isfinite(step["grad_norm"]) for step in steps)
    kept = (tmp_path / "run" / "completions" / "rollout-00001.jsonl").read_text().splitlines()
    assert '"advantage": 0.0' in kept[0] and "the engine died" in kept[0]


class Dying(Apart):
    """Answers one request in sixteen from the second rollout on, and none from the third on."""

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        for request, completion in super().sample(requests):
            lost = self.weights > 2 or (self.weights and request.key != (5, 0))
            yield request, Completion(finish=Finish.LOST, fault="gone") if lost else completion


def test_micro_batches_of_which_nothing_came_move_nothing_and_a_whole_rollout_of_them_ends_the_run(
    inputs: rl.Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, Dying)
    heard: list[dict[str, Any]] = []
    with pytest.raises(EngineError, match=r"nothing came of rollout 3: .* all 16 completions \(lost: gone\)"):
        tiny.run(tmp_path / "run", inputs, {"steps": 6}, heard.append, micro_batch=1)
    steps = [event for event in heard if event["event"] == "step"]
    assert [step.get("failed", 0.0) for step in steps] == [0.0, 0.0, 15 / 16, 15 / 16]
    assert all(math.isfinite(step["grad_norm"]) for step in steps)


def test_a_prompt_with_a_token_that_the_model_does_not_have_is_found_before_the_first_step(
    inputs: rl.Inputs, tmp_path: Path
) -> None:
    words = folders.load_tokenizer(inputs.model.path)
    words.add_tokens(["ABC"])
    words.save_pretrained(inputs.model.path)
    write_rows(inputs.prompts.path / "prompts.jsonl", [Prompt(id="odd", problem="ABC", answer="1", verifier="math")])
    with pytest.raises(InputError, match=r"prompt odd holds token \d+, and the model's embedding has \d+ rows"):
        tiny.run(tmp_path / "run", inputs)
