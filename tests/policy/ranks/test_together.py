"""A whole run of two processes: the rollouts of one, the same bits after a kill, and words where there cannot be."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from stages import rl
from stages.core.artifact import Model, Prompts
from stages.core.errors import RecipeError, StageError
from stages.core.recipe.loading import load
from stages.core.run import events, provenance
from stages.core.run.events import Events
from stages.core.run.runner import run_node
from stages.core.run.runtime import Runtime
from stages.core.storage.store import Store
from stages.policy.ranks import process
from stages.policy.ranks.world import RankDone, world
from stages.policy.training.checkpoint import Checkpoints
from tests.policy import tiny
from tests.policy.ranks import twins

CHANGES: dict[str, Any] = {"kl_weight": 0.05, "reference_steps": 2, "eval_every": 2, "eval_samples": 2}


def inputs_of(home: Path) -> rl.Inputs:
    given = {name: Prompts(path=home / name, record=tiny.record("prompts", name)) for name in ("prompts", "validation")}
    return rl.Inputs(model=Model(path=home / "model", record=tiny.record("model", "tiny")), **given)


def practise(folder: Path, home: Path, **runtime: Any) -> None:
    """Run the stage in a folder as the process that this is."""
    known = world()
    place = tiny.work(folder if known.first else home / "elsewhere" / f"{folder.name}-{known.rank}", **runtime)
    if not known.first:
        place.events.close()
        place = replace(place, scratch=folder / "scratch", events=Events(Path(os.devnull)))
    try:
        rl.run(rl.Recipe(**{**tiny.SETTINGS, **CHANGES}), inputs_of(home), place)
    except RankDone:
        assert not known.first
    finally:
        place.events.close()


def practise_twice(rank: int, home: Path) -> None:
    """One run to its end, and one that dies whole after the checkpoint of its second rollout's first step."""
    practise(home / "whole", home, checkpoint_every=1)
    with twins.together():
        practise(home / "parts", home, checkpoint_every=1)
    seal = Checkpoints.seal

    def last(self: Checkpoints, source: Path, step: int) -> Path:
        made = seal(self, source, step)
        if step == 3 and self.folder.name == "checkpoints":
            (home / "dying").touch()
            tiny.die()
        return made

    Checkpoints.seal = last  # type: ignore[method-assign]
    practise(home / "killed", home, checkpoint_every=1)


def go_on(rank: int, home: Path) -> None:
    practise(home / "killed", home, checkpoint_every=1)
    with twins.together():
        practise(home / "again", home, checkpoint_every=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`whole`: two processes to the end; `killed`: two that died and two that went on; `alone`: one process; `parts`:
    two that hold the weights together, and `again`: the same, gone on with from its last checkpoint but one."""
    folder = tmp_path_factory.mktemp("together")
    tiny.model(folder / "model")
    tiny.prompts(folder / "prompts", 8)
    tiny.prompts(folder / "validation", 3, "validation")
    practise(folder / "alone", folder, micro_batch=4)
    first, second = twins.both(practise_twice, folder)
    assert (folder / "dying").exists() and first == -9 and second != 0
    shutil.copytree(folder / "parts", folder / "again")
    shutil.rmtree(folder / "again" / "scratch" / "checkpoints" / "step-000004")
    assert twins.both(go_on, folder) == [0, 0]
    return folder


def rollout(folder: Path, number: int) -> list[dict[str, Any]]:
    lines = (folder / "completions" / f"rollout-{number:05d}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_completions_and_verdicts_of_a_rollout_do_not_depend_on_how_many_drew_them(home: Path) -> None:
    assert rollout(home / "whole", 1) == rollout(home / "alone", 1)
    mine, theirs = (events.read(home / name / "events.jsonl", "step") for name in ("whole", "alone"))
    assert len(mine) == len(theirs) == tiny.SETTINGS["steps"]
    for name in (
        "reward",
        "length",
        "flat_groups",
        "grad_norm",
        "kl",
        "entropy",
        "ratio_max",
        "sampler_mismatch",
    ):
        assert mine[0][name] == pytest.approx(theirs[0][name], rel=1e-4, abs=1e-6), name


def test_a_validation_is_the_same_whoever_draws_it(home: Path) -> None:
    first, other = (events.read(home / name / "events.jsonl", "eval")[0] for name in ("whole", "alone"))
    assert first | {"time": 0} == other | {"time": 0}


def test_two_processes_that_were_killed_end_in_the_same_bits(home: Path) -> None:
    notes = [line["text"] for line in events.read(home / "killed" / "events.jsonl", "note")]
    assert "resumed from step-000003" in notes
    assert not [line for line in events.read(home / "killed" / "events.jsonl", "warning") if "bit" in line["text"]]
    one, other = (load_file(home / name / "model.safetensors") for name in ("whole", "killed"))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_weights_held_in_parts_are_trained_as_whole_ones_and_gone_on_with_in_the_same_bits(home: Path) -> None:
    mine, theirs = (events.read(home / name / "events.jsonl", "step") for name in ("parts", "alone"))
    for name in ("reward", "grad_norm", "kl", "entropy", "sampler_mismatch"):
        assert mine[-1][name] == pytest.approx(theirs[-1][name], rel=1e-3, abs=1e-5), name
    alone, one, other = (load_file(home / name / "model.safetensors") for name in ("alone", "parts", "again"))
    assert alone.keys() == one.keys() and all(one[name].equal(other[name]) for name in one)
    assert max((one[name] - alone[name]).abs().max().item() for name in one) < 1e-4
    notes = [line["text"] for line in events.read(home / "again" / "events.jsonl", "note")]
    assert "resumed from step-000003" in notes


def test_one_writes_and_the_others_leave_nothing_but_their_share_of_a_checkpoint(home: Path) -> None:
    assert not (home / "elsewhere" / "whole-1" / "completions").exists()
    assert not list((home / "elsewhere").rglob("*.safetensors"))
    checkpoint = home / "whole" / "scratch" / "checkpoints" / "step-000004"
    assert json.loads((checkpoint / "processes.json").read_text()) == 2
    assert (checkpoint / "rng_state_1.pth").is_file()


def test_another_number_of_processes_goes_on_and_says_that_its_bits_are_others(home: Path) -> None:
    folder = home / "parts" / "scratch" / "checkpoints"
    (folder / "step-000004").rename(home / "last")
    before = load_file(home / "parts" / "model.safetensors")
    practise(home / "parts", home)
    after = load_file(home / "parts" / "model.safetensors")
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-4
    said = [line["text"] for line in events.read(home / "parts" / "events.jsonl", "warning")]
    assert any("step-000003 was trained by 2 processes and is gone on with by 1" in text for text in said)


# ---- what is promised ----


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "the launcher started 1 process where runtime.processes promises 2 that train together"),
        ({"RANK": "0", "WORLD_SIZE": "3"}, "the launcher started 3 processes"),
    ],
)
def test_a_world_that_is_not_the_promised_one_is_refused(
    told: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match=said):
        process.launched(Runtime(processes=2))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "FSDP of version 1"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"}, "parts on the CPU"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "promises DeepSpeed, and r1 shards weights by FSDP2"),
    ],
)
def test_a_way_of_sharding_that_is_not_kept_is_refused(
    told: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match=said) as caught:
        process.told_to_shard(Runtime(processes=2))
    assert "fsdp" in caught.value.hint


def test_fsdp2_is_promised_by_a_key_or_by_the_launcher_which_then_says_no_more_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not process.told_to_shard(Runtime(processes=2))
    assert process.told_to_shard(Runtime(processes=2, shard=True))
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "false"}.items():
        monkeypatch.setenv(name, value)
    assert process.told_to_shard(Runtime(processes=2))
    assert not [name for name in os.environ if "FSDP" in name]


def differ(rank: int, home: Path) -> None:
    """Compare what each rank finds: in a store of its own, then in one, by a tree of the code of its own."""
    given = [f"inputs.model={home / 'model'}", "inputs.prompts=sums@1"]
    node = load(None, "rl", given, "practice")
    with pytest.raises(StageError, match=r"rank 1 \(on .*\) has another input `prompts` than rank 0"):
        process.refuse_different(world(), process.facts(node, Store(home / f"store-{rank}")))
    store = Store(home / "store-0")
    process.refuse_different(world(), process.facts(node, store))
    if rank == 1:
        provenance.__file__ = str(home / "tree" / "stages" / "core" / "run" / "provenance.py")
    with pytest.raises(StageError, match=r"rank 1 \(on .*\) has another code of r1 than rank 0"):
        process.refuse_different(world(), process.facts(node, store))


def test_other_files_in_another_process_are_found_by_all(tmp_path: Path) -> None:
    tiny.model(tmp_path / "model")
    for rank, total in enumerate((2, 3)):
        rows = tmp_path / f"rows-{rank}.jsonl"
        rows.write_text(json.dumps({"id": "a", "problem": "1+1=", "answer": str(total)}) + "\n")
        run_node(load(None, "prepare", [f"source={rows}"], "sums"), Store(tmp_path / f"store-{rank}"))
    code = Path(provenance.__file__).parents[2]
    shutil.copytree(code, tmp_path / "tree" / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "tree" / "stages" / "rl.py").open("a") as file:
        file.write("# changed\n")
    assert twins.both(differ, tmp_path) == [0, 0]


def test_prompts_that_do_not_go_round_are_refused_with_the_numbers_that_would() -> None:
    rl.refuse_processes(rl.Recipe(prompts_per_step=6), 3)
    with pytest.raises(RecipeError, match="4 processes cannot share 6 prompts a step") as caught:
        rl.refuse_processes(rl.Recipe(prompts_per_step=6), 4)
    assert caught.value.hint == "use runtime.processes=3, or prompts_per_step=8"
