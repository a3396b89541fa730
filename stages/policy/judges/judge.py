"""A learned judge in use: problems and completions enter, scores between 0 and 1 leave.

A judge is a policy's architecture with one number as its output (DeepSeek-R1, arXiv 2501.12948v2 §3.1). The helpful
one reads the final summary only, the safe one the whole response; what a judge reads, and how its numbers become
scores, is written in judge.json beside the weights, so that training, RL, sampling and evaluation ask it alike.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from stages.core import text
from stages.core.contract import Contract
from stages.core.encoding import Reader
from stages.core.errors import ContractError, MissingError, StageError
from stages.core.rendering import Message
from stages.core.rows import JUDGES
from stages.policy.models.folders import attention_of, load_tokenizer, torch_dtype
from stages.policy.models.prefix import MASK_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

JUDGE_FILE = "judge.json"
PASS_TOKENS = 8192
"""Tokens of a forward pass when scoring, padding included: rows lie in order of their lengths, so there is little."""
LOWEST = 0.0
"""Score of a response that the judge cannot read: no summary, too long, or a number that is none."""


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """What a judge is: the content of judge.json."""

    kind: str
    """`pairwise`: trained to rank two responses; `pointwise`: trained to tell safe from unsafe ones."""
    sees: str
    """`summary`: the content of the answer tags alone; `response`: reasoning and summary in their tags."""
    template: str
    """Text before what it sees; holds {prompt} once."""
    max_tokens: int
    """Longest text in tokens, the end token included."""
    dtype: str
    """Number type of its forward passes."""
    mean: float = 0.0
    """Of its raw outputs on held-out responses."""
    std: float = 1.0
    """Their standard deviation; above 0."""

    def score(self, raw: float) -> float:
        """Return a raw output as a score in 0..1: sigmoid((raw - mean) / std)."""
        return 0.5 * (1.0 + math.tanh(0.5 * (raw - self.mean) / self.std))  # sigmoid without overflow

    def write(self, folder: Path) -> None:
        """Write judge.json into a judge's folder."""
        (folder / JUDGE_FILE).write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> JudgeConfig:
        """Read a folder's judge.json; MissingError without one, ContractError for one that cannot be read."""
        file = Path(folder) / JUDGE_FILE
        if not file.is_file():
            hint = "train one: `r1 reward-model`; a reward model from elsewhere needs that file beside its weights"
            raise MissingError(f"`{folder}` is no judge: it holds no {JUDGE_FILE}", hint=hint)
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
            found = cls(**{part.name: raw[part.name] for part in fields(cls)})
            usable = math.isfinite(found.mean) and 0 < found.std < math.inf
        except (ValueError, KeyError, TypeError) as error:
            raise ContractError(f"not a judge's nature ({error!r})", where=str(file), hint=_AGAIN) from error
        if not usable:
            raise ContractError(f"mean {found.mean} and std {found.std} give no scores", where=str(file), hint=_AGAIN)
        return found


_AGAIN = "train the judge again: `r1 reward-model`"


class JudgeScorer:
    """A judge that is asked: `scorer(problems, completions)`; `faults` counts what it could not read, by reason."""

    def __init__(self, model: Any, tokenizer: Any, contract: Contract, judge_config: JudgeConfig) -> None:
        if contract.syntax == "text" or judge_config.template != contract.template:  # a chat template is the contract's
            contract = replace(contract, template=judge_config.template, prefill="", syntax="text")
            contract = replace(contract, lead="", before_end="")
        self.reader = Reader(tokenizer.backend_tokenizer, contract)
        self.model = model
        self.tokenizer = tokenizer
        self.contract = contract
        self.judge_config = judge_config
        self.faults: Counter[str] = Counter()

    def __call__(
        self, problems: Sequence[str], completions: Sequence[str], turns: Sequence[Sequence[Message]] | None = None
    ) -> list[float]:
        """Return a score in 0..1 for each completion (with or without the prompt's prefill), in order; `turns` are what
        was said before each problem.

        0 for one without a summary where that is what the judge reads, for one that is too long and for a raw output
        that is no number; `faults` counts them. Raises ValueError when the lengths differ.
        """
        raw = self.raw(problems, completions, turns)
        return [LOWEST if value is None else self.judge_config.score(value) for value in raw]

    def raw(
        self, problems: Sequence[str], completions: Sequence[str], turns: Sequence[Sequence[Message]] | None = None
    ) -> list[float | None]:
        """Return the judge's own outputs, unbounded, or None where there is none; `faults` counts why."""
        before = [()] * len(problems) if turns is None else turns
        given = [self.ids(*one) for one in zip(problems, completions, before, strict=True)]
        for ids in given:
            if isinstance(ids, str):
                self.faults[ids] += 1
        places = [place for place, ids in enumerate(given) if not isinstance(ids, str)]
        found: list[float | None] = [None] * len(given)
        outputs = raw_scores(self.model, [given[place] for place in places], self.contract.pad_id)  # type: ignore[misc]
        for place, value in zip(places, outputs, strict=True):
            if math.isfinite(value):
                found[place] = value
            else:
                self.faults["not a number"] += 1
        return found

    def ids(self, problem: str, completion: str, turns: Sequence[Message] = ()) -> list[int] | str:
        """Return what the judge reads as token ids, an end token last, or the reason why it cannot read it.

        The output is read at the end token, which is never padding.
        """
        shown = seen(completion, self.judge_config.sees, self.contract)
        if shown is None:
            return "no summary"
        try:
            *pieces, last = self.reader.text(problem, turns)
        except ContractError as error:
            return error.what
        ids = [*self.reader.ids([(*pieces, written(last, shown, self.contract))])[0], self.contract.end_id]
        return ids if len(ids) <= self.judge_config.max_tokens else "too long"


def load_judge(path: Path | str, device: str = "cpu") -> JudgeScorer:
    """Load a sealed judge on a torch device, in evaluation mode; weights must be safetensors.

    Raises MissingError for a folder that holds no judge, ContractError for one that cannot be read.
    """
    folder = Path(path)
    judge_config = JudgeConfig.read(folder)
    model = load_scalar_model(folder, judge_config.dtype, device)
    return JudgeScorer(model, load_tokenizer(folder), Contract.read(folder), judge_config)


def load_judges(inputs: Any, device: str = "cpu") -> dict[str, JudgeScorer]:
    """Load the judges among a stage's inputs, by the name of the reward each gives. Raises as `load_judge`."""
    given = {name: getattr(inputs, name) for name in JUDGES}
    return {name: load_judge(one.path, device) for name, one in given.items() if one is not None}


def load_scalar_model(path: Path | str, dtype: str = "float32", device: str = "cpu", *, seed: int = 0) -> Any:
    """Load a folder's decoder with one number as its output; a language model's own head is left behind.

    `seed` decides a head that the folder lacks; torch's own random state is not moved. Raises MissingError when the
    folder holds no weights in safetensors and ContractError for an architecture without such a form.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise MissingError(f"`{folder}` holds no model", hint="it must hold config.json and *.safetensors")
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForSequenceClassification.from_pretrained(
                folder,
                num_labels=1,
                dtype=torch_dtype(dtype),
                attn_implementation=attention_of(folder),
                use_safetensors=True,
                local_files_only=True,
            )
    except ValueError as error:
        if "AutoModelForSequenceClassification" not in str(error):
            raise
        raise ContractError(
            f"`{folder}` is of an architecture that transformers knows no scalar head for",
            hint="start the judge from a model of another architecture, such as Qwen or Llama",
        ) from error
    # Where rows end is found by the padding token: it must be the one that rows are padded with.
    model.config.pad_token_id = Contract.read(folder).pad_id
    return model.to(device).eval()


def seen(completion: str, sees: str, contract: Contract) -> str | None:
    """Return the part of a completion that a judge reads; None when it reads summaries and there is no whole one."""
    if sees == "summary":
        return text.summary(completion, contract.think_tags, contract.answer_tags)
    return text.whole(completion, contract.think_tags)


def with_summary(response: str, contract: Contract) -> str:
    """Return a response of a pair with its summary between answer tags, where it holds none of them: pairs from
    elsewhere are plain texts. What follows the thought is the summary; without a mark, all is. One whose thought never
    ends stays as it is."""
    final = text.final_part(response, contract.think_tags, contract.answer_tags)
    if not (final and final.strip()) or any(tag in response for tag in contract.answer_tags):
        return response
    return f"{response.removesuffix(final)}{contract.answer_tags[0]}{final.strip()}{contract.answer_tags[1]}"


def written(prompt: str, shown: str, contract: Contract) -> str:
    """Return the text a judge reads: the prompt, a space unless the prompt ends in one, and what it is shown; under a
    chat template, what that writes around a response without a prefill."""
    if contract.syntax == "jinja":
        return prompt.removesuffix(contract.prefill) + contract.lead + shown.strip() + contract.before_end
    return prompt + ("" if prompt[-1:].isspace() else " ") + shown.strip()


def forward(model: Any, rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """Return the raw output of each row of ids as a float32 tensor [B]; rows are padded on the right.

    A decoder looks only back, so what stands behind a row's end token cannot change its output. Raises StageError for
    an empty row.
    """
    lengths = torch.tensor([len(ids) for ids in rows], device=model.device)
    if not len(rows) or not int(lengths.min()):
        raise StageError("a judge was asked about a text without tokens")
    width = int(lengths.max())
    ids_BT = torch.tensor([[*ids, *[pad_id] * (width - len(ids))] for ids in rows], device=model.device)
    places_T = torch.arange(width, device=model.device)
    # Nobody looks ahead, so rows that are long together are computed without a mask [B, T, T].
    few = {} if len(rows) * width**2 > MASK_AT_ONCE else {"attention_mask": (places_T < lengths[:, None]).long()}
    output = model(
        input_ids=ids_BT,
        **few,
        position_ids=places_T.expand(len(rows), -1),
        use_cache=False,
    )
    scores_B: Tensor = output.logits[:, 0].float()
    return scores_B


def raw_scores(model: Any, rows: Sequence[Sequence[int]], pad_id: int) -> list[float]:
    """Return the raw output of each row of ids, in order; rows of like length share a forward pass."""
    order = sorted(range(len(rows)), key=lambda place: (len(rows[place]), place))
    found = [0.0] * len(rows)
    with torch.inference_mode():
        while order:
            width = len(rows[order[-1]])
            taken = order[-max(1, PASS_TOKENS // width) :]
            del order[-len(taken) :]
            values = forward(model, [rows[place] for place in taken], pad_id).tolist()
            for place, value in zip(taken, values, strict=True):
                found[place] = value
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back transformers' report of a head that is missing and one that is not wanted: both are meant."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
