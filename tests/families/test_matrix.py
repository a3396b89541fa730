"""What works where: every family through every stage in this process, and docs/models.md says what was found.

A cell is a stage run on a tiny random model of the real class, imported as a user would import it. It works, or it is
refused in one sentence with a way out; anything else fails the test.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages import distill, evaluate, logprobs, reward_model, rl, sample, sft
from stages.core.artifact import Conversations, Draft, Logprobs, Model, Preferences, Prompts
from stages.core.errors import R1Error
from stages.core.rows import Conversation, Preference, Prompt, write_rows
from stages.core.run.runner import Work
from stages.policy.models.importing import import_model
from tests.families import building
from tests.policy import tiny

TABLE = Path(__file__).parents[2] / "docs" / "models.md"
ASKED = {"template": tiny.TEMPLATE, "samples": 2, "max_tokens": 4}
TUNED = {"template": tiny.TEMPLATE, "epochs": 1, "batch_size": 2, "learning_rate": 1e-3}
STAGES = ("sample", "eval", "sft", "rl", "logprobs", "teacher", "student", "judge")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("rows"))


def written(home: Path) -> Path:
    """Rows of each kind in a folder."""
    asked = [Prompt(f"p{n}", f"{n}+{n}=", str(2 * n), verifier="math") for n in range(2)]
    said = [Conversation(f"p{n}", f"{n}+{n}=", "so " * n, str(2 * n)) for n in range(4)]
    pairs = [
        Preference(f"r{n}", f"q{n}", f"<think>{n}</think><answer>a</answer>", "<answer>no</answer>") for n in range(9)
    ]
    for name, given in (("prompts", asked), ("conversations", said), ("preferences", pairs)):
        (home / name).mkdir()
        write_rows(home / name / f"{name}.jsonl", given)
    return home


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> Iterator[None]:
    """Each trainer collects garbage when it begins, which takes a second of looking at imported libraries: not here."""
    gc.freeze()
    yield
    gc.unfreeze()


class Family:
    """An imported model, and the stages that are tried on it."""

    def __init__(self, name: str, home: Path, rows: Path) -> None:
        self.name, self.home = name, home
        self.engine = "auto"
        self.imported = import_model(building.folder(name, home / "source"), home / "model")
        self.model = Model(path=home / "model", record=tiny.record("model", "tiny"))
        self.prompts = Prompts(path=rows / "prompts", record=tiny.record("prompts", "p"))
        self.traces = Conversations(path=rows / "conversations", record=tiny.record("conversations", "c"))
        self.pairs = Preferences(path=rows / "preferences", record=tiny.record("preferences", "r"))
        self.notes: list[str] = []

    def work(self, stage: str) -> Work:
        told = self.notes
        return tiny.work(self.home / stage, lambda event: told.append(str(event)), engine=self.engine)

    def run(self, stage: str) -> Draft:
        run: Callable[[Work], Draft] = getattr(self, stage)
        place = self.work(stage)
        try:
            return run(place)
        finally:
            place.events.close()

    def gap(self) -> float:
        """The largest gap of sampler and trainer that a run of RL told, in nats a token."""
        return max(map(float, re.findall(r"'sampler_mismatch': ([\d.e-]+)", " ".join(self.notes))))

    def sample(self, place: Work) -> Draft:
        recipe = sample.Recipe(**ASKED, rewards={tiny.REWARD: 1.0})
        return sample.run(recipe, sample.Inputs(model=self.model, prompts=self.prompts), place)

    def eval(self, place: Work) -> Draft:
        recipe = evaluate.Recipe(**{**ASKED, "template": "r1_zero"}, samplings=[evaluate.Sampling()])
        return evaluate.run(recipe, evaluate.Inputs(model=self.model, prompts=self.prompts), place)

    def sft(self, place: Work) -> Draft:
        return sft.run(sft.Recipe(**TUNED), sft.Inputs(model=self.model, conversations=self.traces), place)

    def rl(self, place: Work) -> Draft:
        changed = {"steps": 2, "max_completion_tokens": 4, "kl_weight": 0.01, "group_size": 2}
        recipe = rl.Recipe(**{**tiny.SETTINGS, **changed})
        return rl.run(recipe, rl.Inputs(model=self.model, prompts=self.prompts), place)

    def logprobs(self, place: Work) -> Draft:
        recipe = logprobs.Recipe(template=tiny.TEMPLATE, top_k=4, whole_tokens=4)
        return logprobs.run(recipe, logprobs.Inputs(teacher=self.model, conversations=self.traces), place)

    def teacher(self, place: Work) -> Draft:
        """On the student's own words, with itself as student."""
        return self._distilled(place, mode="on-policy", steps=2, max_completion_tokens=4)

    def student(self, place: Work) -> Draft:
        """On what `logprobs` wrote down."""
        return self._distilled(place, mode="logprobs", epochs=1, heldout_share=0.3)

    def _distilled(self, place: Work, **changed: Any) -> Draft:
        recipe = distill.Recipe(**{"learning_rate": 1e-3, "batch_size": 2, **changed})
        given: dict[str, Any] = {"student": self.model}
        if recipe.mode == "on-policy":
            asked = distill.Recipe(**{"learning_rate": 1e-3, "batch_size": 2, **changed, "template": tiny.TEMPLATE})
            given |= {"teacher": self.model, "prompts": self.prompts}
            return distill.run(asked, distill.Inputs(**given), place)
        given |= {"logprobs": Logprobs(path=self.home / "logprobs", record=tiny.record("logprobs", "l"))}
        return distill.run(recipe, distill.Inputs(**given), place)

    def judge(self, place: Work) -> Draft:
        recipe = reward_model.Recipe(template="plain", batch_size=4, heldout_share=0.4)
        return reward_model.run(recipe, reward_model.Inputs(model=self.model, preferences=self.pairs), place)


def cell(family: Family, stage: str) -> tuple[str, Draft | None]:
    """`yes`, `slow` where the sampler said so, or `no` where it was refused; and what was made."""
    try:
        draft = family.run(stage)
    except R1Error as error:
        assert error.hint and "\n" not in error.what, error
        return "no", None
    return "slow" if any("plain `generate`" in note for note in family.notes) else "yes", draft


def table() -> dict[str, list[str]]:
    """Family -> cells of docs/models.md."""
    lines = re.findall(r"^\| ([^|]+) \|(.*)\|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name.strip(): [one.strip() for one in cells.split("|")] for name, cells in lines}


@pytest.mark.parametrize("name", building.FAMILIES)
def test_every_cell_is_what_docs_models_says(name: str, tmp_path: Path, rows: Path) -> None:
    family = Family(name, tmp_path, rows)
    found: list[str] = []
    for stage in STAGES:
        family.notes.clear()
        said, draft = cell(family, stage)
        found.append(said)
        if stage == "rl" and draft is not None:
            assert family.gap() < 1e-5
    abilities = family.imported["abilities"]
    assert found == table()[name][: len(STAGES)]
    assert (found[STAGES.index("judge")] == "no") == abilities["judge"].startswith("no")
    assert found[0] == "slow" or abilities["sample"].startswith("fast")
