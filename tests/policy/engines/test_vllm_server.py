"""A real vLLM server on loopback: seeds, log-probabilities, reading, refusals, and no new weights on a CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import torch

from stages.core.contract import Contract
from stages.core.errors import EngineError
from stages.core.run.runtime import Runtime
from stages.core.sampling import Completion, Finish, Request, Sampling, Text
from stages.policy.engines.vllm.engine import VllmEngine
from stages.policy.engines.vllm.server import VllmServer
from tests.policy.engines.fake_server import FakeServer
from tests.policy.engines.world import Base, logits_of, logprobs_of

pytestmark = pytest.mark.vllm


@pytest.fixture
def served(vllm_url: str, base: Base) -> Iterator[VllmServer]:
    engine = VllmServer(vllm_url, base.folder, base.contract)
    yield engine
    engine.close()
    engine.close()


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_server_draws_by_seed_and_tells_the_log_probabilities_it_drew_by(
    served: VllmServer, base: Base, temperature: float
) -> None:
    asked = base.requests(base.prompts(12), temperature=temperature, max_tokens=24)
    once = {request.key: done for request, done in served.sample(asked)}
    again = {request.key: done.ids for request, done in served.sample(asked[::-1])}
    assert {key: done.ids for key, done in once.items()} == again
    for request in asked:
        done = once[request.key]
        own = logprobs_of(base.model, request.prompt_ids, done.ids, temperature or 1.0)
        assert done.logprobs == pytest.approx(own, abs=1e-4)
        assert done.finish is (Finish.END if done.ids[-1] in base.contract.eos_ids else Finish.LENGTH)


@pytest.mark.parametrize("k", [0, 3])
def test_a_server_reads_what_transformers_reads(served: VllmServer, base: Base, k: int) -> None:
    prompt, other = base.prompts(2)
    ((_, reading),) = served.read([Text(prompt, other[:6])], k)
    logprobs_TV = logits_of(base.model, [*prompt, *other[:6]])[len(prompt) - 1 : -1].log_softmax(-1)
    own = logprobs_TV.gather(1, torch.tensor(other[:6])[:, None])[:, 0]
    assert reading.logprobs == pytest.approx(own.tolist(), abs=1e-4)
    if k:
        torch.testing.assert_close(torch.tensor(reading.top_logprobs), logprobs_TV.topk(k).values, atol=1e-4, rtol=0)


def test_what_a_server_refuses_is_a_value_and_the_rest_is_answered(served: VllmServer, base: Base) -> None:
    good = base.prompts(1)[0]
    brief, long = Sampling(max_tokens=2), Sampling(max_tokens=2000)
    asked = {
        "out of vocabulary": Request(prompt_ids=[5, 896], sampling=brief, seed=0, key=0),
        "does not fit": Request(prompt_ids=good, sampling=long, seed=0, key=1),
        "top_p 1": Request(prompt_ids=good, sampling=Sampling(max_tokens=2, top_p=0.5), seed=0, key=2),
        "": Request(prompt_ids=good, sampling=brief, seed=0, key=3),
    }
    found = {request.key: done for request, done in served.sample(asked.values())}
    for words, request in asked.items():
        done = found[request.key]
        assert done.finish is (Finish.REFUSED if words else Finish.LENGTH) and words in done.fault


def test_a_server_that_cannot_be_renewed_here_is_found_out_before_the_first_step(
    served: VllmServer, base: Base
) -> None:
    with pytest.raises(EngineError, match="by NCCL, and there is no GPU here") as raised:
        served.renew(base.model.state_dict().items(), 0)
    assert "runtime.vllm_server" in raised.value.hint
    short = [pair for pair in base.model.state_dict().items() if pair[0] != "lm_head.weight"]
    with pytest.raises(EngineError, match=r"differ in `lm_head.weight`"):
        served.renew(short, 0)


def test_the_runtime_names_the_server(vllm_url: str, base: Base) -> None:
    runtime = Runtime(engine="vllm", vllm_server=f"{vllm_url}/v1")
    engine = VllmEngine.open(base.folder, contract=base.contract, dtype="float32", runtime=runtime)
    assert isinstance(engine, VllmServer)
    engine.close()


def test_a_server_that_is_not_there_or_is_no_vllm_is_one_sentence(base: Base, server: FakeServer) -> None:
    for url, words in [("http://127.0.0.1:9", "there is no vLLM server at"), (server.url, "does not speak as a vLLM")]:
        with pytest.raises(EngineError, match=words) as raised:
            VllmServer(url, base.folder, base.contract)
        assert "vllm serve" in raised.value.hint


def test_a_server_with_less_room_than_the_model_is_refused(vllm_url: str, base: Base) -> None:
    longer = Contract(**{**vars(base.contract), "max_positions": 4096})
    with pytest.raises(EngineError, match="holds 1024 tokens, the model 4096"):
        VllmServer(vllm_url, base.folder, longer)


class Dying(BaseHTTPRequestHandler):
    """Speaks as vLLM does until the prompt is long: then it drops the connection."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer({"data": [{"id": "m", "max_model_len": 1024}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if len(body["prompt"]) > 1:
            self.connection.close()
            return
        likely = -1.0 / body["temperature"] if body["temperature"] < 2 else -3.0
        told = {"token_logprobs": [likely], "top_logprobs": [{"a": likely}]}
        choice = {"token_ids": [7], "logprobs": told, "finish_reason": "length"}
        self.answer({"choices": [choice if body["prompt"] != [9] else choice | {"token_ids": "seven"}]})

    def answer(self, said: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())


def test_a_server_that_dies_loses_what_it_had_and_then_ends_the_run(base: Base) -> None:
    dying = HTTPServer(("127.0.0.1", 0), Dying)
    thread = Thread(target=dying.serve_forever, daemon=True)
    thread.start()
    engine = VllmServer(f"http://127.0.0.1:{dying.server_port}", base.folder, base.contract)

    def drawn(ids: list[int]) -> Completion:
        asked = Request(prompt_ids=ids, sampling=Sampling(max_tokens=1), seed=0)
        return next(done for _, done in engine.sample([asked]))

    assert drawn([5]).ids == [7]
    lost = drawn([5, 6])
    assert lost.finish is Finish.LOST and "the connection broke" in lost.fault
    with pytest.raises(EngineError, match="does not speak as a vLLM"):
        drawn([9])
    dying.shutdown()
    dying.server_close()
    with pytest.raises(EngineError, match="there is no vLLM server at"):
        drawn([5])
    engine.close()
