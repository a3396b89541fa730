"""What a plan needs from outside is looked at and imported before the first node; a dry run says what it could not see.

The teacher is a tiny random model in the store: were a node begun, the store would show its workspace.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from r1cli import main
from stages.core.artifact import Model
from stages.core.rows import Prompt, write_rows
from stages.core.run import hub
from stages.core.run.sources import resolve
from stages.core.storage.store import Store
from tests import fake_hub
from tests.fake_hub import FakeHub
from tests.policy import tiny
from tests.policy.engines import fake_server

PUPIL = "hf:owner/pupil"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("tiny") / "model").path


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[FakeHub]:
    """A hub that is waited for a second and holds one student; the teacher is in the store."""
    monkeypatch.setattr(hub, "LOOK_S", 1.0)
    monkeypatch.setattr(hub, "SMALL_S", 5.0)
    monkeypatch.chdir(tmp_path)
    resolve(str(folder), Model, Store(), name="teacher")
    write_rows(tmp_path / "few.jsonl", [Prompt(f"p{n}", f"{n}+1?", str(n + 1), "math") for n in range(2)])
    with fake_hub.running(monkeypatch, tmp_path / "cache") as server:
        server.repositories["owner/pupil"] = folder
        yield server


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""
        self.seconds = 0.0

    def __call__(self, *argv: str) -> int:
        begun = time.monotonic()
        code = main.run(argv)
        self.seconds = time.monotonic() - begun
        self.out, self.err = self._capsys.readouterr()
        return code

    def outside(self, *argv: str) -> dict[str, list[str]]:
        assert self(*argv, "--dry-run", "--json") == 0, self.err
        found: dict[str, list[str]] = json.loads(self.out)["outside"]
        return found


@pytest.fixture
def r1(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def begun() -> list[str]:
    """Every recipe.yaml in the store: a node writes it before it does anything."""
    return sorted(str(path) for path in Store().home.rglob("recipe.yaml"))


DISTILL = ("distill", "--teacher", "teacher", "--student", PUPIL, "learning_rate=1e-3")


@pytest.mark.parametrize("how", ["404", "503", "drips", "silent", "gated"])
def test_a_student_that_cannot_be_fetched_is_told_before_the_teacher_samples(
    r1: Shell, fake: FakeHub, how: str
) -> None:
    if how.isdigit():
        fake.status = int(how)
    else:
        setattr(fake, how, True)
    assert r1(*DISTILL) == 2
    lines = [line for line in r1.err.splitlines() if line]
    assert (
        len(lines) == 2
        and lines[0].startswith("error: ")
        and "hf:owner/pupil" in lines[0]
        and lines[1].startswith("hint: ")
    )
    assert r1.seconds < 20 and begun() == []


def test_a_hub_that_comes_back_is_gone_on_with(r1: Shell, fake: FakeHub, folder: Path) -> None:
    fake.status = 503
    options = ("inputs.prompts=few.jsonl", f"template={tiny.TEMPLATE}", "samples=1", "max_tokens=4", "--name", "drawn")
    asked = ("sample", f"inputs.model={PUPIL}", *options)
    assert r1(*asked) == 2 and begun() == []
    fake.status = 200
    assert r1(*asked) == 0, r1.err
    drawn = Store().newest("drawn")
    assert drawn is not None and drawn.record.inputs["model"] == "pupil@1"
    fake.status = 503
    assert r1(*asked) == 0 and "nothing to build" in r1.out  # and nothing is asked again


def test_a_dry_run_says_what_it_looked_at_and_what_it_could_not(r1: Shell, fake: FakeHub) -> None:
    found = r1.outside(*DISTILL)
    assert (
        found["unchecked"] == []
        and "commit cccccccccccc" in found["checked"][0]
        and "GB to fetch" in found["checked"][0]
    )
    fake.silent = True
    found = r1.outside(*DISTILL)
    assert found["checked"] == [] and "no whole answer within 1 s" in found["unchecked"][0]
    assert not any("model.safetensors" in line for line in fake.asked)
    fake.silent, fake.status = False, 404
    assert r1(*DISTILL, "--dry-run") == 2  # what is not there at all is wrong in a plan too
    assert begun() == []


def test_a_student_of_another_architecture_or_tokenizer_is_refused_before_anything_is_built(
    r1: Shell, fake: FakeHub, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    words = json.loads((other / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    first, second = list(vocabulary)[:2]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(words))
    fake.repositories["owner/pupil"] = other
    for dry in ((), ("--dry-run",)):
        assert r1(*DISTILL, "--mode", "logprobs", *dry) == 2
        assert "mode logprobs needs one tokenizer" in r1.err and "mode=traces" in r1.err and begun() == []
    (other / "config.json").write_text('{"model_type": "t5"}')
    fake.repositories["owner/stranger"] = other
    assert r1("distill", "--teacher", "teacher", "--student", "hf:owner/stranger", "learning_rate=1e-3") == 2
    assert "no causal language model" in r1.err and begun() == []


def test_a_student_without_a_learning_rate_is_refused_before_anything_is_built(r1: Shell, fake: FakeHub) -> None:
    assert r1("distill", "--teacher", "teacher", "--student", PUPIL) == 2
    assert "no `learning_rate` is published for `hf:owner/pupil`" in r1.err and begun() == []


def test_weights_larger_than_the_disk_are_refused_before_a_byte_is_fetched(r1: Shell, fake: FakeHub) -> None:
    fake.claimed["model-00002-of-00002.safetensors"] = 10**18
    assert r1(*DISTILL) == 1
    assert "needs 2000000000.0 GB" in r1.err and not any(".safetensors" in line for line in fake.asked if "GET" in line)


def broken(**last: Any) -> str:
    first = {"stage": "sample", "inputs": {"model": "teacher", "prompts": "few.jsonl"}, "recipe": {"samples": 1}}
    return json.dumps({"nodes": {"drawn": first, "last": last}})


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"stage": "sft", "inputs": {"model": "teacher", "conversations": "bad.jsonl"}}, "bad.jsonl:1: "),
        (
            {"stage": "sft", "inputs": {"model": "hf:owner/none", "conversations": "world:seeds"}},
            "has no `hf:owner/none`",
        ),
        ({"stage": "prepare", "recipe": {"source": "hf:owner/none"}}, "has no `hf:owner/none`"),
        ({"stage": "sft", "inputs": {"model": "m.gguf", "conversations": "world:seeds"}}, "m.gguf"),
        (
            {"stage": "eval", "inputs": {"model": "teacher", "prompts": "few.jsonl"}, "runtime": {"device": "cuda:7"}},
            "no device `cuda:7`",
        ),
        (
            {
                "stage": "eval",
                "inputs": {"model": "teacher", "prompts": "few.jsonl"},
                "runtime": {"vllm_server": "http://127.0.0.1:9"},
            },
            "no vLLM server at http://127.0.0.1:9",
        ),
        (
            {"stage": "sample", "inputs": {"model": "openai:http://127.0.0.1:9/v1#m", "prompts": "few.jsonl"}},
            "no OpenAI-compatible server answers at http://127.0.0.1:9/v1",
        ),
    ],
)
def test_whatever_the_last_node_lacks_is_told_before_the_first_begins(
    r1: Shell, fake: FakeHub, tmp_path: Path, last: dict[str, Any], said: str
) -> None:
    (tmp_path / "bad.jsonl").write_text("{not json\n")
    (tmp_path / "m.gguf").write_bytes(b"no gguf")
    (tmp_path / "all.yaml").write_text(broken(**last))
    code = r1("pipeline", "--recipe", "all.yaml")
    assert code in (1, 2) and said in r1.err, r1.err
    assert begun() == []


def test_an_endpoint_without_its_key_or_model_is_told_before_the_first_node(
    r1: Shell, fake: FakeHub, tmp_path: Path
) -> None:
    with fake_server.running() as server:
        (tmp_path / "all.yaml").write_text(
            broken(stage="sample", inputs={"model": f"openai:{server.url}#{fake_server.MODEL}", "prompts": "few.jsonl"})
        )
        server.listing = fake_server.status(401, "no key")
        assert r1("pipeline", "--recipe", "all.yaml") == 1 and "key" in r1.err
        found = r1.outside("pipeline", "--recipe", "all.yaml")
        assert "key" in found["unchecked"][0]
        server.listing = fake_server.lists(fake_server.MODEL)
        found = r1.outside("pipeline", "--recipe", "all.yaml")
        assert "answers and has the model" in " ".join(found["checked"]) and server.bodies == []
        assert begun() == []


def test_a_code_reward_without_a_sandbox_is_told_before_the_first_node(
    r1: Shell, fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"rewards": {"code": 1.0}, "template": "r1_zero"}
    (tmp_path / "all.yaml").write_text(
        broken(stage="sample", inputs={"model": "teacher", "prompts": "few.jsonl"}, recipe=recipe)
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert r1("pipeline", "--recipe", "all.yaml") == 1
    assert "rewards `code`" in r1.err and "isolation=rlimits" in r1.err and begun() == []
