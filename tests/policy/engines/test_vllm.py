"""vLLM for real, on the CPU or a GPU, beside transformers: tokens, log-probabilities, seeds, renewal, refusals."""

from __future__ import annotations

import copy
import gc
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from stages.core.contract import Contract
from stages.core.errors import EngineError
from stages.core.sampling import Completion, Finish, Request, Sampling, Text
from stages.policy.engines.probe import Probe
from stages.policy.engines.vllm import setup
from stages.policy.engines.vllm.engine import VllmEngine
from stages.policy.engines.vllm.names import tensor_names
from tests.policy.engines.world import Base, logits_of, logprobs_of

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def opened(base: Base, request: pytest.FixtureRequest) -> Iterator[VllmEngine]:
    """One engine for the whole module: its first opening takes half a minute. A GPU is shared, as beside a trainer."""
    engine = VllmEngine(base.folder, base.contract, dtype="float32", device=request.param, memory=0.3)
    yield engine
    engine.close()


@pytest.fixture
def engine(opened: VllmEngine, base: Base) -> VllmEngine:
    """That engine with the base's own weights, whatever the test before did."""
    if opened._version:
        opened.renew(named(base.model), 0)
    return opened


def named(model: Any) -> list[tuple[str, torch.Tensor]]:
    from stages.policy.models.weights import Policy

    return list(Policy(model, None, None).named_weights())  # type: ignore[arg-type]


def answered(engine: VllmEngine, requests: list[Request]) -> list[Completion]:
    """The completions in the order of the requests' keys."""
    found = {request.key: completion for request, completion in engine.sample(requests)}
    return [found[key] for key in sorted(found)]  # type: ignore[type-var]


def moved(model: Any, seed: int, size: float) -> Any:
    """A copy whose every tensor is moved by about `size`, tied ones together."""
    other = copy.deepcopy(model)
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in other.parameters():
            tensor += size * torch.randn(tensor.shape, generator=chance)
    return other


def gaps(engine: VllmEngine, model: Any, requests: list[Request]) -> list[float]:
    """|engine - trainer| of each drawn token's log-probability, at the temperature that drew it."""
    found: list[float] = []
    for request, done in engine.sample(requests):
        own = logprobs_of(model, request.prompt_ids, done.ids, request.sampling.temperature or 1.0)
        found += [abs(a - b) for a, b in zip(done.logprobs, own, strict=True)]
    return sorted(found)


def test_greedy_tokens_are_those_of_the_transformers_sampler(engine: VllmEngine, base: Base) -> None:
    from stages.core.sampling import Sampling as Plain
    from tests.policy.drawing import generate

    prompts = base.prompts(64)
    ours = generate(base.model, prompts, Plain(temperature=0, max_tokens=64), contract=base.contract, seed=0)
    theirs = answered(engine, base.requests(prompts, temperature=0, max_tokens=64))
    assert [one.ids for one in theirs] == [one.ids for one in ours]
    assert [one.truncated for one in theirs] == [one.truncated for one in ours]
    assert {one.finish for one in theirs} <= {Finish.END, Finish.LENGTH}


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 1.0), (0.7, 1.0), (1.0, 0.8), (0.7, 0.5)])
def test_logprobs_are_those_of_the_sampling_policy_over_the_whole_vocabulary(
    engine: VllmEngine, base: Base, temperature: float, top_p: float
) -> None:
    asked = base.requests(base.prompts(32), temperature=temperature, top_p=top_p, max_tokens=48)
    off = gaps(engine, base.model, asked)
    assert sum(off) / len(off) <= 1e-5 and off[int(0.95 * len(off))] <= 1e-4


def test_top_p_cuts_what_it_should(engine: VllmEngine, base: Base) -> None:
    prompt = base.prompts(1)[0]
    probabilities = logits_of(base.model, prompt)[-1].softmax(-1)
    values, tokens = probabilities.sort(descending=True)
    nucleus = set(tokens[(values.cumsum(0) - values) < 0.6].tolist())
    drawn = {one.ids[0] for one in answered(engine, base.requests([prompt] * 200, top_p=0.6, max_tokens=1))}
    assert 1 < len(nucleus) < 100 and drawn <= nucleus


def test_a_request_draws_the_same_alone_reversed_and_among_others(engine: VllmEngine, base: Base) -> None:
    asked = base.requests(base.prompts(12), temperature=1.0, max_tokens=32)
    together = [one.ids for one in answered(engine, asked)]
    assert [one.ids for one in answered(engine, asked[::-1])] == together
    assert [answered(engine, [one])[0].ids for one in asked[:4]] == together[:4]
    crowd = [Request(prompt_ids=one.prompt_ids, sampling=one.sampling, seed=7 + n, key=100 + n) for n, one in
             enumerate(asked)]  # fmt: skip
    assert [one.ids for one in answered(engine, [*crowd, *asked])[:12]] == together
    assert len({tuple(ids) for ids in together}) > 6


def test_different_seeds_of_one_prompt_follow_the_distribution(engine: VllmEngine, base: Base) -> None:
    prompt = base.prompts(1)[0]
    probabilities = logits_of(base.model, prompt)[-1].softmax(-1)
    best = int(probabilities.argmax())
    drawn = [one.ids[0] for one in answered(engine, base.requests([prompt] * 2000, max_tokens=1))]
    share, expected = drawn.count(best) / 2000, float(probabilities[best])
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 2000) ** 0.5


def test_the_stream_is_read_no_further_than_keeps_the_engine_full(engine: VllmEngine, base: Base) -> None:
    prompt, taken = base.prompts(1)[0], 0

    def stream() -> Iterator[Request]:
        nonlocal taken
        for n in range(3000):
            taken += 1
            yield Request(prompt_ids=prompt, sampling=Sampling(max_tokens=1), seed=n, key=n)

    answers = engine.sample(stream())
    next(answers)
    assert taken <= 2 * setup.ROWS["cpu"]
    answers.close()  # type: ignore[attr-defined]
    assert not engine._engine.has_unfinished_requests() and not engine._finished


def test_two_streams_may_be_open_at_once_and_each_gets_its_own(engine: VllmEngine, base: Base) -> None:
    asked = base.requests(base.prompts(6), max_tokens=8)
    alone = [one.ids for one in answered(engine, asked)]
    one, other = engine.sample(asked[:3]), engine.sample(asked[3:])
    found = {request.key: done.ids for pair in zip(one, other, strict=True) for request, done in pair}
    assert [found[n] for n in range(6)] == alone


def test_what_cannot_run_is_refused_in_a_sentence_and_the_rest_is_answered(engine: VllmEngine, base: Base) -> None:
    good, room, brief = base.prompts(1)[0], base.contract.max_positions, Sampling(max_tokens=4)
    vocabulary = base.model.config.vocab_size
    wrong = {
        "no token": Request(prompt_ids=[], sampling=brief, seed=0, key="no token"),
        f"token {vocabulary} is not": Request(
            prompt_ids=[5, vocabulary], sampling=brief, seed=0, key=f"token {vocabulary} is not"
        ),
        "token -1 is not": Request(prompt_ids=[-1], sampling=brief, seed=0, key="token -1 is not"),
        "do not fit": Request(prompt_ids=[5] * room, sampling=brief, seed=0, key="do not fit"),
        "max_tokens 2000": Request(prompt_ids=good, sampling=Sampling(max_tokens=2000), seed=0, key="max_tokens 2000"),
        "temperature 0 or from 0.01": Request(
            prompt_ids=good, sampling=Sampling(temperature=0.001), seed=0, key="temperature 0 or from 0.01"
        ),
        "temperature must be in [0, 2]": Request(
            prompt_ids=good, sampling=Sampling(temperature=3), seed=0, key="temperature must be in [0, 2]"
        ),
    }
    fine = Request(prompt_ids=good, sampling=brief, seed=0, key="fine")
    found = {request.key: done for request, done in engine.sample([*wrong.values(), fine])}
    for words in wrong:
        assert found[words].finish is Finish.REFUSED and words in found[words].fault and not found[words].ids
    assert not found["fine"].failed and len(found["fine"].ids) == 4


def test_a_completion_may_reach_the_models_last_position(engine: VllmEngine, base: Base) -> None:
    prompt = base.prompts(1)[0]
    room = base.contract.max_positions
    long = (prompt * room)[: room - 2]
    (done,) = answered(engine, [Request(prompt_ids=long, sampling=Sampling(max_tokens=2), seed=0, key=0)])
    assert not done.failed and len(done.ids) <= 2
    ((_, reading),) = engine.read([Text(long, prompt[:2])])
    assert reading.logprobs == pytest.approx(logprobs_of(base.model, long, prompt[:2]), abs=1e-4)


def test_the_contracts_ends_alone_end_a_completion_and_stay_its_last_token(base: Base, engine: VllmEngine) -> None:
    prompt = base.prompts(1)[0]
    (whole,) = answered(engine, base.requests([prompt], temperature=0, max_tokens=24))
    end = whole.ids[5]
    other = Contract(**{**vars(base.contract), "eos_ids": [end]})
    kept, engine._contract = engine._contract, other
    try:
        (cut,) = answered(engine, base.requests([prompt], temperature=0, max_tokens=24))
    finally:
        engine._contract = kept
    assert cut.ids == whole.ids[: whole.ids.index(end) + 1] and cut.finish is Finish.END
    assert len(cut.logprobs) == len(cut.ids)


@pytest.mark.parametrize("k", [0, 1, 5, 896])
def test_reading_gives_what_transformers_gives(engine: VllmEngine, base: Base, k: int) -> None:
    assert base.model.config.vocab_size == 896
    prompts = base.prompts(4)
    texts = [Text(prompt, other[:7], n) for n, (prompt, other) in enumerate(zip(prompts, prompts[::-1], strict=True))]
    for text, reading in engine.read(texts, k):
        logprobs_TV = logits_of(base.model, [*text.prompt_ids, *text.completion_ids])[len(text.prompt_ids) - 1 : -1]
        logprobs_TV = logprobs_TV.log_softmax(-1)
        own = logprobs_TV.gather(1, torch.tensor(text.completion_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(reading.logprobs), own, atol=1e-4, rtol=0)
        if not k:
            assert reading.top_ids == reading.top_logprobs == []
            continue
        values_TK = logprobs_TV.topk(k).values
        torch.testing.assert_close(torch.tensor(reading.top_logprobs), values_TK, atol=1e-4, rtol=0)
        picked = logprobs_TV.gather(1, torch.tensor(reading.top_ids))
        torch.testing.assert_close(picked, values_TK, atol=1e-4, rtol=0)  # near ties may change places
        assert all(len(set(row)) == k for row in reading.top_ids)


def test_a_text_that_cannot_be_read_is_an_error_that_names_why(engine: VllmEngine, base: Base) -> None:
    for text, words in [
        (Text([], [5]), "nothing stands before"),
        (Text([5], [896]), "token 896"),
        (Text([5], [6] * 1024), "do not fit"),
    ]:
        with pytest.raises(EngineError, match=words):
            list(engine.read([text]))
    with pytest.raises(EngineError, match="897 likeliest"):
        list(engine.read([], 897))


def test_renewed_weights_are_the_trainers_tied_head_and_prefix_cache_included(engine: VllmEngine, base: Base) -> None:
    asked = base.requests(base.prompts(16), temperature=0, max_tokens=32)
    before = answered(engine, asked)
    other = moved(base.model, seed=1, size=0.01)
    engine.renew(named(other), 1)
    after = answered(engine, asked)
    assert {one.weights for one in before} == {0} and {one.weights for one in after} == {1}
    assert [one.ids for one in after] != [one.ids for one in before]
    off = gaps(engine, other, asked)
    assert max(off) < 1e-4
    with torch.no_grad():  # the engine holds a copy: training goes on in place
        for tensor in other.parameters():
            tensor.zero_()
    assert [one.ids for one in answered(engine, asked)] == [one.ids for one in after]


def stepped(model: Any, texts: list[Text], seed: int) -> Any:
    """A copy after the first step of Adam at R1-Zero's learning rate of 3e-6, on random advantages."""
    chance, other = random.Random(seed), copy.deepcopy(model)
    for text in texts:
        logits_TV = other(input_ids=torch.tensor([[*text.prompt_ids, *text.completion_ids]])).logits[0]
        logprobs_TV = logits_TV[len(text.prompt_ids) - 1 : -1].log_softmax(-1)
        own = logprobs_TV.gather(1, torch.tensor(text.completion_ids)[:, None])
        (-chance.gauss(0, 1) * own.sum()).backward()
    with torch.no_grad():
        for tensor in other.parameters():
            tensor -= 3e-6 * tensor.grad.sign()
    return other


def test_the_probe_lets_every_true_renewal_pass_and_catches_one_layer_left_old_in_20_of_20(
    engine: VllmEngine, base: Base
) -> None:
    drawn = engine.sample(base.requests(base.prompts(8), temperature=1.0, max_tokens=48))
    texts = [Text(request.prompt_ids, done.ids) for request, done in drawn]

    def trainer(model: Any) -> list[list[float]]:
        return [logprobs_of(model, text.prompt_ids, text.completion_ids) for text in texts]

    probe = Probe(engine, "float32")
    assert probe.rehearse(named(base.model), texts, trainer(base.model)) < 1e-6
    old, gaps_found = dict(named(base.model)), []
    for seed in range(5):
        new = stepped(base.model, texts, seed)
        expected = trainer(new)
        engine.renew(named(new), seed + 1)
        assert probe.check(texts, expected) <= probe.bound
        for layer in range(4):
            engine.renew(((name, old[name] if f".layers.{layer}." in name else own) for name, own in named(new)), 99)
            with pytest.raises(EngineError, match="nats a token from the trainer, above") as raised:
                probe.check(texts, expected)
            gaps_found.append(raised.value.what)
    assert len(gaps_found) == 20


def test_the_probe_finds_another_model_before_the_first_step(engine: VllmEngine, base: Base) -> None:
    prompt = base.prompts(1)[0]
    texts = [Text(prompt, prompt[:9])]
    trainer = [logprobs_of(moved(base.model, 3, 0.01), prompt, prompt[:9])]
    with pytest.raises(EngineError, match="does not run the same model"):
        Probe(engine, "float32").rehearse(named(base.model), texts, trainer)


def test_what_is_in_flight_at_a_renewal_is_aborted_and_said_so(engine: VllmEngine, base: Base) -> None:
    asked = base.requests(base.prompts(4), temperature=0, max_tokens=64)
    brief = Request(prompt_ids=asked[0].prompt_ids, sampling=Sampling(max_tokens=1), seed=0, key="brief")
    answers = engine.sample([brief, *asked])
    first, done = next(answers)
    assert first.key == "brief" and not done.failed
    engine.renew(named(base.model), 3)
    left = list(answers)
    assert [done.finish for _, done in left] == [Finish.ABORTED] * 4 and {done.weights for _, done in left} == {0}
    assert answered(engine, [brief])[0].weights == 3


def test_the_process_keeps_its_chance_and_its_threads(engine: VllmEngine, base: Base) -> None:
    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    expected = random.random(), numpy.random.rand(), torch.rand(1).item()
    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    answered(engine, base.requests(base.prompts(4), temperature=1.0, max_tokens=4))
    list(engine.read([Text([5, 6], [7])]))
    engine.renew(named(base.model), 2)
    assert (random.random(), numpy.random.rand(), torch.rand(1).item()) == expected
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)


def test_a_trainer_beside_it_is_not_told_to_use_a_launcher(
    engine: VllmEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import TrainingArguments

    assert torch.distributed.is_initialized()
    assert TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[]).device.type == "cpu"
    assert "process group" not in caplog.text


def test_a_second_engine_beside_it_and_after_it_works_and_closing_twice_is_nothing(
    engine: VllmEngine, base: Base, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = base.requests(base.prompts(4), temperature=0, max_tokens=8)
    expected = [one.ids for one in answered(engine, asked)]
    for _ in range(2):
        other = VllmEngine(base.folder, base.contract, dtype="float32", device="cpu")
        assert [one.ids for one in answered(other, asked)] == expected
        other.close()
        other.close()
        with pytest.raises(EngineError, match="closed"):
            list(other.sample(asked))
    assert [one.ids for one in answered(engine, asked)] == expected
    assert capfd.readouterr() == ("", "")  # nothing is said on the user's terminal
    gc.collect()


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_weights_that_are_not_the_models_end_the_engine_in_a_sentence(base: Base, fault: str) -> None:
    engine = VllmEngine(base.folder, base.contract, dtype="float32", device="cpu")
    given = dict(named(base.model))
    if fault == "missing":
        del given["lm_head.weight"]
    elif fault == "unknown":
        given["model.layers.9.mlp.up_proj.weight"] = given["model.layers.0.mlp.up_proj.weight"]
    else:
        given["model.norm.weight"] = torch.ones(7)
    words = {"missing": "`lm_head.weight`", "unknown": "layers.9", "shape": "cannot take new weights"}
    try:
        with pytest.raises(EngineError, match=words[fault]) as raised:
            engine.renew(iter(given.items()), 1)
        assert "runtime.engine=transformers" in raised.value.hint
        with pytest.raises(EngineError, match=words[fault]):
            list(engine.sample(base.requests([[5]], max_tokens=1)))
    finally:
        engine.close()


def test_a_models_tensors_are_listed_tied_ones_under_each_name(base: Base) -> None:
    assert tensor_names(base.folder) == set(base.model.state_dict())
    assert "lm_head.weight" in tensor_names(base.folder)


def test_a_model_that_vllm_cannot_do_is_one_sentence_and_a_way_out_and_harms_no_other_engine(
    engine: VllmEngine, base: Base, tmp_path: Path
) -> None:
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    from tests.policy import tiny

    asked = base.requests(base.prompts(2), temperature=0, max_tokens=8)
    expected = [one.ids for one in answered(engine, asked)]
    made = tiny.model(tmp_path / "tiny")  # heads of 16, which the CPU build has not
    old = tmp_path / "old"
    config = OpenAIGPTConfig(vocab_size=64, n_embd=64, n_layer=1, n_head=2)
    OpenAIGPTLMHeadModel(config).save_pretrained(old)
    for folder, words in [
        (made.path, "cannot run `tiny`: .*head_dim=16"),
        (old, "cannot open `old`: .*OpenAIGPT.* not supported for now$"),
    ]:
        with pytest.raises(EngineError, match=words) as raised:
            VllmEngine(folder, made.contract, dtype="float32", device="cpu")
        assert "\n" not in raised.value.what and "runtime.engine=transformers" in raised.value.hint
    gc.collect()
    assert [one.ids for one in answered(engine, asked)] == expected
