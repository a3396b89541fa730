"""The words in which a model is asked for completions, whichever engine answers: no torch, no model, no network.

A stage says what it wants as a stream of `Request`s; an `Engine` answers each with a `Completion`, in any order. The
transformers sampler, vLLM and an OpenAI-compatible endpoint are engines; no stage knows which of them it asks. A
request carries its own seed, so what is drawn for it depends on no neighbour.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

ENGINES: dict[str, str] = {
    "transformers": "stages.policy.engines.local.engine:LocalEngine",
    "vllm": "stages.policy.engines.vllm.engine:VllmEngine",
}
"""Name of an engine that loads weights (`runtime.engine`) -> `module:class`; a new one is a file and a line here.

Opened by the classmethod `open(folder, *, contract, dtype, runtime, model=None)`: the folder of a sealed model, its
contract, the recipe's number type and the circumstances. `model` is the trainer's live module in RL: an engine that can
sample that very module does; the others load the folder and are renewed.
"""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Smallest set of likeliest tokens with at least this probability is kept (arXiv:1904.09751); in (0, 1], 1 keeps
    all."""
    max_tokens: int = 256
    """Longest completion in tokens, the end token included; at least 1."""

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_tokens < 1:
            raise ValueError(f"temperature >= 0, 0 < top_p <= 1 and max_tokens >= 1 are needed, got {self}")


class Finish(StrEnum):
    """How a completion finished. All but END and LENGTH are failures: they are counted, and never judged as wrong."""

    END = "end"
    """The model ended it: an end token, or the server's word for one."""
    LENGTH = "length"
    """`max_tokens` came before an end: truncated."""
    ABORTED = "aborted"
    """The engine gave it up midway, as when it is drained for new weights: truncated, and no end."""
    CUT = "cut"
    """The connection ended midway: half a stream."""
    REFUSED = "refused"
    """The engine will not answer it, however often it is asked: too long, ids it does not know, a filter."""
    TIMED_OUT = "timed out"
    """No answer within the deadline."""
    LOST = "lost"
    """The engine died with it."""


RETRIED = frozenset({Finish.ABORTED, Finish.CUT, Finish.TIMED_OUT, Finish.LOST})
"""Failures where asking again can help."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt to be continued once."""

    prompt_ids: Sequence[int] = ()
    """The prompt as token ids, for engines that hold the tokenizer's model."""
    messages: Sequence[Mapping[str, str]] = ()
    """The prompt as a conversation of {"role", "content"}, for engines that only speak; one of the two is given."""
    sampling: Sampling
    seed: int
    """Of this request alone: derived from (seed, prompt, number), below 2^63."""
    key: Hashable = None
    """The caller's name for it, handed back with the completion; unique within a stream."""
    shard: int = 0
    """The unit of restart it belongs to, ascending in a stream. An engine whose last bits depend on what runs beside a
    request never lets two shards share a forward pass; for the others it is no barrier."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What followed one prompt."""

    ids: list[int] = field(default_factory=list)
    """Tokens, the end token included where it was reached; empty where the engine only speaks."""
    logprobs: list[float] = field(default_factory=list)
    """Log-probability of each token under the policy that sampled, at its temperature, over the whole vocabulary, in
    nats: softmax(logits / temperature), before top-p cuts and rescales. With temperature 0, that of temperature 1."""
    finish: Finish
    weights: int = 0
    """Version of the weights that drew it: 0 for those that were loaded, then as `Engine.renew` said."""
    text: str | None = None
    """The words, where the engine only speaks: reasoning between the contract's marks first, if it was apart."""
    tokens: int | None = None
    """Length as the server counted it, where there are no ids."""
    prompt_tokens: int | None = None
    """Tokens of the prompt as the server counted them, where there are no ids."""
    fault: str = ""
    """Of a failure: what happened, in a sentence."""

    @property
    def truncated(self) -> bool:
        """Whether something other than the model ended it."""
        return self.finish is not Finish.END

    @property
    def failed(self) -> bool:
        """Whether the engine failed: such a completion is no sample of the policy, and no reward judges it."""
        return self.finish not in (Finish.END, Finish.LENGTH)

    @property
    def length(self) -> int:
        """Its tokens."""
        return len(self.ids) if self.tokens is None else self.tokens


class Text(NamedTuple):
    """A prompt and a completion that an engine shall only read."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]
    key: Hashable = None


@dataclass(frozen=True)
class Reading:
    """What an engine holds likely along a `Text`: T completion tokens."""

    logprobs: list[float]
    """log p of each completion token at temperature 1 over the whole vocabulary, in nats; T."""
    top_ids: list[list[int]] = field(default_factory=list)
    """The k likeliest tokens at each position, likeliest first, T x k; empty for k = 0."""
    top_logprobs: list[list[float]] = field(default_factory=list)
    """Their log-probabilities."""


class Engine(Protocol):
    """A model that completes prompts."""

    @property
    def name(self) -> str:
        """Key of ENGINES, or `openai`."""

    @property
    def exact(self) -> bool:
        """Whether its log-probabilities are the trainer's up to float32 rounding, and need not be taken again."""

    @property
    def apart(self) -> bool:
        """Whether it computes elsewhere than on this machine's cores, so that judging may run meanwhile."""

    @property
    def coupled(self) -> bool:
        """Whether the last bits of a completion depend on what runs beside it: an interrupted shard is then made again
        whole, to the same bits; otherwise completions are kept one by one."""

    @property
    def weights(self) -> int:
        """Version of the weights it samples from: 0 as opened, then as `renew` said."""

    @property
    def notes(self) -> list[str]:
        """What a user should know of how it samples, a sentence each; whoever opened it tells them, and clears them."""

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        """Yield each request with its completion, in any order; reads the stream no further ahead than keeps it full.

        A failure is a completion too. Raises EngineError when the engine as a whole is of no use any more.
        """

    def read(self, texts: Iterable[Text], k: int = 0) -> Iterator[tuple[Text, Reading]]:
        """Yield each text with its reading, in any order. Raises EngineError where the engine cannot read."""

    def renew(self, weights: Iterable[tuple[str, Any]], version: int) -> None:
        """Take new weights, (name, tensor) in transformers' names, tied ones under each of their names; forget every
        cache of the old. Raises EngineError where the device or the engine cannot."""

    def close(self) -> None:
        """Give back memory, processes and connections; a second call does nothing."""
