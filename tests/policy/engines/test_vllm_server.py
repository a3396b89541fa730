"""A real vLLM server on loopback: seeds, log-probabilities, reading, refusals, and no new weights on a CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from stages.core.contract import Contract
from stages.core.endpoint import Address, EndpointSettings
from stages.core.errors import EngineError
from stages.core.runtime import Runtime
from stages.core.sampling import Finish, Request, Sampling, Text
from stages.policy.engines.endpoint import EndpointEngine
from stages.policy.engines.vllm import VllmEngine
from stages.policy.engines.vllm_server import VllmServer
from tests.policy.engines.fake_server import FakeServer
from tests.policy.engines.serving import MODEL
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


def test_the_same_server_is_an_endpoint_too(vllm_url: str, base: Base) -> None:
    engine = EndpointEngine(Address.parse(f"openai:{vllm_url}/v1#{MODEL}"), EndpointSettings())
    asked = Request(
        messages=[{"role": "user", "content": "set 7; add 5"}], sampling=Sampling(max_tokens=8), seed=1, key=0
    )
    ((_, done),) = engine.sample([asked])
    engine.close()
    assert not done.failed and done.text and (done.tokens or 0) <= 8
