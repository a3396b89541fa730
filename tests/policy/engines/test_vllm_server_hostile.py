"""A server that lies, breaks off its JSON, echoes the key or has another model: one sentence each, without a vLLM."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stages.core.errors import EngineError, RecipeError
from stages.core.run.runtime import Runtime
from stages.core.sampling import Completion, Finish, Request, Sampling, Text
from stages.policy.engines.opening import chosen
from stages.policy.engines.vllm.engine import VllmEngine
from stages.policy.engines.vllm.server import VllmServer
from tests.policy.engines import fake_server as fake
from tests.policy.engines.fake_server import FakeServer
from tests.policy.engines.world import Base, logprobs_of

KEY = "sk-not-to-be-seen"


class Told:
    """What a fake vLLM says: the base's own log-probabilities plus `off`, until `strange` bodies take over."""

    def __init__(self, base: Base, server: FakeServer) -> None:
        self.base, self.off = base, 0.0
        self.behaviour: fake.Behaviour | None = None
        server.listing = fake.lists("m", max_model_len=1024)
        server.script = lambda number, body: self.behaviour or self.speak

    def speak(self, handler: fake.Handler, body: dict[str, Any]) -> None:
        prompt, count = body["prompt"], body["max_tokens"]
        likely = -1.0 * (body["temperature"] or 1.0)
        told: dict[str, Any] = {"token_logprobs": [likely] * count, "top_logprobs": [{"a": likely}] * count}
        choice: dict[str, Any] = {"token_ids": [7] * count, "logprobs": told, "finish_reason": "length"}
        if "prompt_logprobs" in body:
            own = logprobs_of(self.base.model, prompt[:1], prompt[1:])
            rows = [{str(id_): {"logprob": x - self.off}} for id_, x in zip(prompt[1:], own, strict=True)]
            choice["prompt_logprobs"] = [None, *rows]
        handler.whole(200, "application/json", json.dumps({"choices": [choice]}).encode())


@pytest.fixture
def told(base: Base, server: FakeServer) -> Told:
    return Told(base, server)


@pytest.fixture
def engine(told: Told, base: Base, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[VllmServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = VllmServer(server.url, base.folder, base.contract)
    yield found
    found.close()


def drawn(engine: Any, temperature: float = 1.0) -> Completion:
    asked = Request(prompt_ids=[5], sampling=Sampling(max_tokens=1, temperature=temperature), seed=0)
    return next(done for _, done in engine.sample([asked]))


def body(**changed: Any) -> bytes:
    choice = {"token_ids": [7], "logprobs": {"token_logprobs": [-1.0]}, "finish_reason": "length"} | changed
    return json.dumps({"choices": [choice]}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b'{"choices": []}',
        b"[" * 100_000,
        body(token_ids=[-1]),
        body(token_ids=[2**40]),
        body(token_ids=[], logprobs={"token_logprobs": []}),
        body(logprobs={"token_logprobs": [float("nan")]}),
        body(logprobs={"token_logprobs": [0.5]}),
        body(logprobs=[1]),
        body(finish_reason=[KEY]),
        json.dumps({"choices": [KEY]}).encode(),
    ],
)
def test_a_strange_body_is_one_sentence_without_the_key_and_no_completion(
    engine: VllmServer, told: Told, raw: bytes
) -> None:
    told.behaviour = fake.raw("application/json", raw)
    with pytest.raises(EngineError, match="does not speak as a vLLM server does") as raised:
        drawn(engine)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("value", [float("nan"), 0.5, "x", None])
def test_a_reading_with_strange_numbers_is_one_sentence(engine: VllmServer, told: Told, value: Any) -> None:
    told.behaviour = fake.raw("application/json", body(prompt_logprobs=[None, {"6": {"logprob": value}}]))
    with pytest.raises(EngineError, match="does not speak as a vLLM server does"):
        list(engine.read([Text([5], [6])]))


@pytest.mark.parametrize("before", ["", " " * 290, " " * 2390])
def test_a_key_that_the_server_echoes_is_blotted_out_before_the_text_is_cut(
    engine: VllmServer, told: Told, before: str
) -> None:
    told.behaviour = fake.status(400, f"{before}no {KEY}")
    done = drawn(engine)
    assert done.finish is Finish.REFUSED and "sk-" not in done.fault
    told.behaviour = fake.status(401, f"no {KEY}")
    with pytest.raises(EngineError, match="does not let us in") as raised:
        drawn(engine)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("temperature", [0.001, 2.5])
def test_a_temperature_that_vllm_cannot_do_is_refused_with_the_way_out(engine: VllmServer, temperature: float) -> None:
    done = drawn(engine, temperature)
    assert done.finish is Finish.REFUSED and "runtime.engine=transformers" in done.fault


def test_a_server_with_another_model_than_the_folder_is_refused_with_both_numbers(
    told: Told, base: Base, server: FakeServer
) -> None:
    runtime = Runtime(vllm_server=server.url)

    def opened() -> Any:
        return VllmEngine.open(base.folder, contract=base.contract, dtype="float32", runtime=runtime)

    opened().close()
    told.off = 0.5
    with pytest.raises(
        EngineError, match=r"does not run the model in .* 0.5 nats a token from it, above 0.001"
    ) as raised:
        opened()
    assert "vllm serve" in raised.value.hint


def test_a_server_that_hangs_is_given_up_after_the_wait_that_the_run_allows(
    told: Told, base: Base, server: FakeServer
) -> None:
    runtime = Runtime(vllm_server=server.url, vllm_wait_s=0.5)
    engine = VllmEngine.open(base.folder, contract=base.contract, dtype="float32", runtime=runtime)
    told.behaviour, begun = fake.never, time.monotonic()
    done = drawn(engine)
    assert (done.finish, done.fault) == (Finish.TIMED_OUT, "no answer within 0.5 s") and time.monotonic() - begun < 10
    engine.close()
    with pytest.raises(RecipeError, match="`vllm_wait_s` must be above 0"):
        Runtime(vllm_wait_s=0)


def test_a_key_that_travels_in_the_clear_is_told(
    told: Told, base: Base, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    port = server.server_address[1]
    there = VllmServer(f"http://0.0.0.0:{port}", base.folder, base.contract)
    assert "travels unencrypted to 0.0.0.0" in there.notes[0]
    there.close()


@pytest.mark.parametrize(
    "url",
    ["http://user:secret@h:1", "user:secret@h:1", "http://h:1/?key=secret", "http://h:99999", "h:1", "http://[secret"],
)
def test_a_server_without_a_plain_url_is_refused_and_never_repeated(url: str) -> None:
    with pytest.raises(RecipeError, match="vllm_server") as raised:
        Runtime(vllm_server=url)
    assert "secret" not in f"{raised.value} {raised.value.hint}"


def test_a_given_server_decides_that_vllm_samples() -> None:
    assert chosen(Runtime(device="cpu", vllm_server="http://h:1")) == "vllm"
    assert chosen(Runtime(device="cpu", vllm_server="")) == "transformers"
    with pytest.raises(RecipeError, match="the engine is transformers"):
        Runtime(engine="transformers", vllm_server="http://h:1")
