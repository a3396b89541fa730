"""A completion that was judged: what was asked, what came, and what each reward said of it.

One record for all that is judged: the groups of RL and the completions it keeps, `r1 sample`, `r1 eval`. The rows of
their files are this record's, each with what else its file holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.core.sampling import Completion


class Verdict(NamedTuple):
    """A reward's word on one completion: `value` in 0..1, or None for "cannot judge"; `reason` in a few words."""

    value: float | None
    reason: str


@dataclass(frozen=True)
class Judged:
    """A completion of a prompt and its verdicts."""

    prompt: Prompt
    completion: Completion
    text: str
    """The completion in words, as `decoded` gives it."""
    verdicts: Mapping[str, Verdict]
    """Reward name -> what it said, of those that apply to the prompt. Of a completion that the engine failed every one
    is None: it is no sample of the policy, and so neither right nor wrong."""

    @property
    def failed(self) -> bool:
        """Whether the engine failed."""
        return self.completion.failed

    def value(self, name: str) -> float:
        """Return a reward's value; what it could not judge counts as 0."""
        return self.verdicts[name].value or 0.0

    def row(self, rewards: Collection[str] | None = None) -> dict[str, Any]:
        """Return what every file of judged completions holds of one: the text, its length in tokens, whether something
        other than the model ended it, and the verdicts of `rewards` (None: all) that apply."""
        names = [name for name in (self.verdicts if rewards is None else rewards) if name in self.verdicts]
        return {
            "completion": self.text,
            "rewards": {name: self.verdicts[name].value for name in names},
            "reasons": {name: self.verdicts[name].reason for name in names},
            "tokens": self.completion.length,
            "truncated": self.completion.truncated,
        }


def decoded(completion: Completion, contract: Contract, tokenizer: Any) -> str:
    """Return a completion as text, without end and padding tokens; tags stay even where they are special tokens.
    `tokenizer` is the model's; what a server said in words is returned as it is."""
    if completion.text is not None:
        return completion.text
    silent = {*contract.eos_ids, contract.pad_id}
    return str(tokenizer.decode([one for one in completion.ids if one not in silent], skip_special_tokens=False))
