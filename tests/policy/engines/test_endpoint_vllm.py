"""`openai:URL#model` against a real vLLM server with the embedded base: what it says, `r1 sample`, `r1 eval`, a client
that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stages.core.artifact import Artifact, Endpoint, Rollouts
from stages.core.errors import EngineError
from stages.core.recipe import loading
from stages.core.run.endpoint import Address, EndpointSettings
from stages.core.run.runner import run_node
from stages.core.run.sources import resolve
from stages.core.sampling import Request, Sampling
from stages.core.storage.store import Store
from stages.policy.engines.endpoint.engine import EndpointEngine
from stages.policy.engines.endpoint.wire import Answer
from tests.policy.engines.serving import MODEL
from tests.policy.engines.world import Base

pytestmark = pytest.mark.vllm


@pytest.fixture
def store(r1_home: Path) -> Store:
    return Store(r1_home)


@pytest.fixture
def address(vllm_url: str) -> str:
    return f"openai:{vllm_url}/v1#{MODEL}"


def started(*arguments: str) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, "-m", "r1cli", *arguments], env=os.environ.copy(), **pipes)


def finished(store: Store, stage: str, *arguments: str) -> Artifact:
    """What the command line makes."""
    client = started(stage, *arguments)
    output, _ = client.communicate(timeout=120)
    assert client.returncode == 0, output
    return store.open(stage)


def test_what_vllm_says_of_itself_is_recorded(store: Store, address: str, base: Base) -> None:
    found = resolve(address, Endpoint, store)
    assert isinstance(found, Endpoint)
    said = found.declared["said"]
    assert said["model"] == MODEL and said["system_fingerprint"].startswith("vllm-")
    assert said["listed"]["root"] == str(base.folder)
    assert found.contract.max_positions == base.contract.max_positions


def test_a_model_that_vllm_does_not_serve_is_one_sentence(store: Store, vllm_url: str) -> None:
    with pytest.raises(EngineError, match=r"has no model `other` to talk to \(404 ") as raised:
        resolve(f"openai:{vllm_url}/v1#other", Endpoint, store)
    assert "/v1/models" in raised.value.hint


def test_reasoning_that_vllm_takes_apart_is_the_text_the_model_said(address: str, base: Base) -> None:
    """Greedy, against transformers' own `generate`; what never ends its thinking vLLM takes for reasoning whole."""
    from stages.policy.models import folders
    from stages.world import problems

    words = folders.load_tokenizer(base.folder)
    asked = [row.problem for row in problems.prompts("heldout", 12, 0)]
    drawn = Sampling(temperature=0.0, max_tokens=160)
    requests = [
        Request(messages=[{"role": "user", "content": text}], sampling=drawn, seed=n, key=text)
        for n, text in enumerate(asked)
    ]
    engine = EndpointEngine(Address.parse(address), EndpointSettings())
    said = {request.key: completion for request, completion in engine.sample(requests)}
    engine.close()
    compared = 0
    for text in asked:
        ids = words(f"User: {text}. Assistant:", return_tensors="pt")["input_ids"]
        out = base.model.generate(ids, max_new_tokens=160, do_sample=False)[0, ids.shape[1] :].tolist()
        own = words.decode([one for one in out if one not in (0, 1)])
        if "</think>" in own:
            compared += 1
            assert said[text].text == Answer(content=[own]).completion(("<think>", "</think>"))
            assert said[text].tokens == len(out)
    assert compared >= 6


def test_sample_and_eval_ask_it(store: Store, address: str) -> None:
    given = [f"inputs.model={address}", "inputs.prompts=world:heldout", "problems=4", "samples=2", "max_tokens=200"]
    made = finished(store, "sample", *given)
    assert isinstance(made, Rollouts) and len(made.samples()) == 8
    bill = made.metrics["endpoint"]
    assert bill["requests"] == 8 and bill["estimated"] == 0 and bill["models"] == {MODEL: 8}
    assert bill["tokens"] == sum(one.tokens for one in made.samples())
    assert all(name.startswith("vllm-") for name in bill["system_fingerprints"])
    assert any(one.completion.startswith("<think>") for one in made.samples())
    scores = run_node(loading.load(None, "eval", given), store)
    found = json.loads((scores.path / "scores.json").read_text(encoding="utf-8"))
    assert found["endpoint"]["requests"] == 16 and [part["failed"] for part in found["samplings"]] == [0, 0]
    assert all(0 <= scores.metrics[part["name"]]["pass@1"] <= 1 for part in found["samplings"])


def test_a_prompt_it_has_no_room_for_is_refused_and_no_wrong_answer(store: Store, address: str, tmp_path: Path) -> None:
    rows = [
        {"id": "long", "problem": "one and " * 2000, "answer": "1", "verifier": "math"},
        {"id": "short", "problem": "What is 1 + 1", "answer": "2", "verifier": "math"},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = [f"inputs.model={address}", f"inputs.prompts={file}", "samples=2", "max_tokens=16"]
    made = run_node(loading.load(None, "sample", given), store)
    assert isinstance(made, Rollouts) and made.metrics["failed"] == 2
    failed = [one for one in made.samples() if one.failed]
    assert [one.id for one in failed] == ["long", "long"]
    assert all("maximum context length" in reason for one in failed for reason in one.reasons.values())


def test_a_client_killed_midway_repeats_no_answer(store: Store, address: str) -> None:
    given = ["sample", f"inputs.model={address}", "inputs.prompts=world:heldout", "problems=4", "samples=4"]
    given += ["max_tokens=120"]
    client = started(*given, "runtime.endpoint.requests_per_minute=300")  # 3 seconds for all
    kept: list[str] = []
    deadline = time.monotonic() + 60
    while len(kept) < 4 and time.monotonic() < deadline:
        kept = [line for file in store.home.rglob("endpoints/*.jsonl") for line in file.read_text().splitlines()]
        time.sleep(0.02)
    client.send_signal(signal.SIGKILL)
    client.communicate()
    (file,) = store.home.rglob("endpoints/*.jsonl")
    whole = [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
    assert 4 <= len(whole) < 16
    made = finished(store, *given)
    assert isinstance(made, Rollouts) and made.metrics["endpoint"]["requests"] == 16
    said = [one.completion for one in made.samples()]
    assert all(row["completion"]["text"] in said for row in whole)
