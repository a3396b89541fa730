"""Several processes under a launcher: one that is killed, and what went wrong in a sentence."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import InputError, RecipeError, StageError
from stages.core.recipe.loading import Loaded, load
from stages.core.run import events, launch, preflight
from stages.core.run.launch import Place
from stages.core.run.plan import plan
from stages.core.run.runner import run_node
from stages.core.run.runtime import Runtime
from stages.core.storage.store import Store
from tests.policy import tiny
from tests.policy.ranks import deadly


def practice(home: Path, **runtime: Any) -> Loaded:
    """The tiny policy practises in two processes, rewarded by a function that may kill one."""
    asked = {**tiny.SETTINGS, "rewards": "{tests.policy.ranks.deadly:low_bytes: 1.0}", "reference_steps": "null"}
    kept = {"processes": 2, "device": "cpu", "threads": 1, "checkpoint_every": 1, **runtime}
    words = [f"{key}={value}" for key, value in asked.items()] + [f"runtime.{key}={kept[key]}" for key in kept]
    given = [f"inputs.model={home / 'model'}", f"inputs.prompts={home / 'prompts' / 'prompts.jsonl'}"]
    return load(None, "rl", [*given, *words], "twins")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.home(tmp_path_factory.mktemp("launched"))


def test_a_killed_process_ends_the_others_within_a_minute_and_the_same_command_goes_on_and_seals(
    home: Path, tmp_path: Path
) -> None:
    store, heard = Store(tmp_path / "store"), list[dict[str, Any]]()
    store.home.mkdir()
    (store.home / deadly.FUSE).touch()
    node = practice(home)
    with pytest.raises(StageError, match=r"rank 1 of 2 was killed while `twins-\w+` was built") as caught:
        run_node(node, store, heard.append)
    assert "the same command goes on" in caught.value.hint
    assert not (store.home / deadly.FUSE).exists()
    died = next(line["time"] for line in reversed(heard) if line["event"] == "step")
    assert time.time() - died < 60
    made = run_node(node, store, heard.append)
    assert made.record.metrics["steps"] == tiny.SETTINGS["steps"]
    assert made.record.provenance["processes"] == 2
    assert not (made.path / "scratch").exists()
    notes = [line["text"] for line in events.read(made.path / "events.jsonl", "note")]
    assert any(text.startswith("resumed from step-") for text in notes)
    steps = [line["step"] for line in heard if line["event"] == "step"]
    assert sorted(set(steps)) == [1, 2, 3, 4] and heard[-1]["event"] == "sealed"


# ---- what went wrong, in a sentence ----


def failing(place: Place, *ranks: Exception | str | None) -> Exception:
    """The failure of a launch whose ranks failed with an error, ended with a word, or were killed (None)."""
    for rank, ended in enumerate(ranks):
        place.note(rank, begun=1.0, host="here", pid=1)
        if isinstance(ended, Exception):
            place.fail(rank, ended)
        elif ended:
            place.note(rank, ended=ended)
    return launch.failure(place, Runtime(processes=2), 1)


LOST = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4711")


@pytest.mark.parametrize(
    ("ranks", "kind", "said"),
    [
        ((LOST, InputError("row 3 has no answer", hint="mend it")), InputError, "rank 1: row 3 has no answer"),
        ((InputError("no rows"), InputError("no rows")), InputError, "no rows"),
        ((ValueError("x"), LOST), RuntimeError, "rank 0: ValueError: x"),
        ((LOST, None), StageError, "rank 1 of 2 was killed"),
        (("asked to end", None), StageError, "rank 1 of 2 was killed"),
        ((None, None), StageError, "all processes were killed"),
        ((LOST, "asked to end"), RuntimeError, "rank 0: RuntimeError: .*closed by peer"),
        ((), StageError, "exit code 1 after 0 of 2 processes had begun; it said: unknown option"),
    ],
)
def test_the_error_that_is_told_is_the_one_that_ended_the_others(
    tmp_path: Path, ranks: tuple[Exception | str | None, ...], kind: type[Exception], said: str
) -> None:
    place = Place(tmp_path / "scratch" / "launch")
    place.folder.mkdir(parents=True)
    place.log.write_text("usage: it\nunknown option\n\n")
    error = failing(place, *ranks)
    assert type(error) is kind
    with pytest.raises(kind, match=f"^{said}" if ranks else said):
        raise error


def test_a_process_sees_that_who_started_it_is_gone_even_when_another_has_begun(tmp_path: Path) -> None:
    place = Place(tmp_path / "launch")
    place.folder.mkdir()
    with ExitStack() as first:
        first.enter_context(place.held())
        with place.watched() as alive:
            assert alive() and alive()
            first.close()
            shutil.rmtree(place.folder)
            place.folder.mkdir()
            with place.held(), place.watched() as later:
                assert not alive() and later()


@pytest.mark.parametrize(
    ("launcher", "kind", "said"),
    [
        ("no-such-launcher --ranks 2", RecipeError, "there is no launcher `no-such-launcher` here"),
        (f"{sys.executable} -c 'raise SystemExit(3)'", StageError, "exit code 3 after 0 of 2 processes had begun"),
    ],
)
def test_a_launcher_that_starts_nothing_is_told_and_nothing_is_sealed(
    home: Path, tmp_path: Path, launcher: str, kind: type[Exception], said: str
) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(kind, match=said):
        run_node(practice(home, launcher=launcher), store)
    assert not (store.home / "twins").exists()


# ---- refused in the plan ----


def test_a_launcher_without_a_number_of_processes_is_refused() -> None:
    with pytest.raises(RecipeError, match="a launcher is given, and `processes` does not say"):
        Runtime(launcher="torchrun")


PRACTICE = ["inputs.model=world:base", "inputs.prompts=world:train"]


@pytest.mark.parametrize(
    ("stage", "words", "said"),
    [
        ("eval", ["inputs.model=world:base", "inputs.prompts=world:validation"], "runs in one process: r1 eval cannot"),
        ("rl", [*PRACTICE, "prompts_per_step=3"], "cannot share 3 prompts"),
        ("rl", [*PRACTICE, "runtime.engine=vllm"], "vLLM follows the weights of one"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_in_the_plan(
    tmp_path: Path, stage: str, words: list[str], said: str
) -> None:
    store, node = Store(tmp_path), load(None, stage, [*words, "runtime.processes=2"])
    with pytest.raises(RecipeError, match=said):
        preflight.check(plan([node], store), store, strict=False)
