"""What a model promises about its text: template, tags, end and padding tokens.

What enters: `contract.json` beside the weights. What leaves: a `Contract` that rewards, masks, traces and evaluation
all read, so that no stage guesses how a prompt looks. A hand-over that breaks it is an error, not a worse model. Its
template is a text around the problem, or a chat template that is rendered from messages; nothing but the contract and
the messages decides what is rendered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from stages.core import rendering
from stages.core.errors import ContractError, MissingError

R1_ZERO_TEMPLATE = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> "
    "reasoning process here </think> <answer> answer here </answer>. User: {prompt}. Assistant:"
)
"""R1-Zero's published prompt, verbatim (DeepSeek-R1, table 1; `prompt` is replaced by the problem)."""

TEMPLATES: dict[str, str] = {"r1_zero": R1_ZERO_TEMPLATE, "plain": "User: {prompt}. Assistant:"}
"""Templates a recipe may name."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """How prompts are written for this model and how its completions are read."""

    template: str
    """Prompt text holding `{prompt}` once, a chat template (see `syntax`), or empty: the problem is the prompt."""
    template_name: str
    """A key of TEMPLATES, `chat` or a user's own name; for people, nothing is looked up by it."""
    prefill: str = ""
    """Text the prompt ends with and the completion therefore lacks: `<think>` and a newline, or empty."""
    think_tags: tuple[str, str] = ("<think>", "</think>")
    """Opening and closing mark of the reasoning."""
    answer_tags: tuple[str, str] = ("<answer>", "</answer>")
    """Opening and closing mark of the committed answer."""
    eos_ids: list[int]
    """Token ids that end a completion; never empty, but where only a server knows its tokens (then `pad_id` is -1)."""
    pad_id: int
    """Token id of padding; never one of `eos_ids`, or the model is trained not to stop."""
    tokenizer_sha256: str
    """Hash of the tokenizer the ids belong to, as hex."""
    max_positions: int
    """Tokens of prompt and completion together the model can hold; 0 where only its server knows."""
    end_id: int = -1
    """The end token that a response is trained to end in: one of `eos_ids` (another value becomes their first), or -1
    where there are none."""

    syntax: Literal["text", "jinja"] = "text"
    """`jinja`: the template is a chat template that needs nothing but messages; the prefill is a part of what it
    writes."""
    lead: str = ""
    """White space that the chat template writes between a prompt and a response (Llama-2: a blank); it is the first
    that a response trains."""
    before_end: str = ""
    """Text that the chat template writes between a response and its end token."""

    def __post_init__(self) -> None:
        if self.end_id not in self.eos_ids:
            object.__setattr__(self, "end_id", self.eos_ids[0] if self.eos_ids else -1)

    def render(self, problem: str, turns: Sequence[rendering.Message] = ()) -> str:
        """The prompt text for one problem after earlier turns (braces are kept as they are), ending in the prefill.

        Raises ContractError for turns that the template has no place for, and for messages that a chat template
        refuses or leaves out, or ends in another opening or closing of the thought than the prefill.
        """
        if self.syntax == "jinja":
            messages = [*turns, {"role": "user", "content": problem}]
            text = rendering.render(self.template, messages, asks=True)
            if turns:
                rendering.check_kept(self.template, messages, text, self.think_tags[1])
            if not text.endswith(self.prefill) or (not self.prefill and text.rstrip().endswith(self.think_tags)):
                raise ContractError(
                    "the chat template begins the thought of this prompt otherwise",
                    hint="leave out what switches thinking on or off, in the problem or in earlier turns",
                )
            return text
        if turns:
            raise ContractError(
                f"the template `{self.template_name or 'none'}` has no place for earlier turns",
                hint="use the model's chat template, `template=chat`, or a .jinja file",
            )
        return (self.template.replace("{prompt}", problem) if self.template else problem) + self.prefill

    def respond(self, reasoning: str, summary: str) -> str:
        """The completion text for reasoning and summary: both in their tags, without the prefill the prompt ends with.

        Empty reasoning leaves an empty thinking span, so that every response has one shape. Raises ContractError for
        reasoning that does not begin with the words that the prompt puts behind the opening tag.
        """
        text = f"{self.think_tags[0]}{reasoning}{self.think_tags[1]}{self.answer_tags[0]}{summary}{self.answer_tags[1]}"
        opened = self.prefill.rstrip()
        if not opened.startswith(self.think_tags[0]):
            return text
        words = opened.removeprefix(self.think_tags[0])
        said = text.removeprefix(self.think_tags[0])
        if words.strip():  # `<think>\nOkay`: only a thought that begins so can follow
            said, words = said.lstrip(), words.lstrip()
            if not said.startswith(words):
                raise ContractError(f"its reasoning does not begin with {words!r}, as every prompt makes it")
            said = said.removeprefix(words)
        return said.removeprefix(self.prefill[len(opened) :])  # the prompt holds the newline too

    @property
    def shown(self) -> str:
        """What every prompt shows of the template and the prefill."""
        return rendering.asked(self.template) if self.syntax == "jinja" else self.template + self.prefill

    def tagged(self, completion: str) -> str:
        """Return a completion whose answer stands between the answer tags, where nobody asked for them: a model behind
        a server, under a prompt that does not show them, has its answer in what follows its thinking."""
        if self.eos_ids or any(tag in self.shown or tag in completion for tag in self.answer_tags):
            return completion
        thinking, closed, said = completion.rpartition(self.think_tags[1])
        if not closed and self.think_tags[0] in completion:
            return completion  # the thinking never ended
        return f"{thinking}{closed}{self.answer_tags[0]}{said.strip()}{self.answer_tags[1]}"

    def check(self, *, needs_tags: bool = True) -> None:
        """Raises ContractError when eos is missing, pad is an eos, or the template lacks `{prompt}` or the tags.

        `needs_tags=False` lets a template pass that never shows the tags (evaluation of plain prompts).
        """
        if not self.eos_ids:
            raise ContractError("the model names no eos token", hint="import it again: `r1 artifacts import SOURCE`")
        if self.pad_id in self.eos_ids:
            raise ContractError(
                f"the pad token ({self.pad_id}) is also an eos token, so the model would never learn to stop",
                hint="import the model with a pad token of its own: `r1 artifacts import SOURCE --pad-token TOKEN`",
            )
        if self.template and self.syntax == "text" and self.template.count("{prompt}") != 1:
            raise ContractError(
                f"the template `{self.template_name}` must hold {{prompt}} exactly once", hint=_TEMPLATE_HINT
            )
        missing = [tag for tag in (*self.think_tags, *self.answer_tags) if needs_tags and tag not in self.shown]
        if missing:
            what = f"the template `{self.template_name}` lacks {' '.join(missing)}"
            hint = f"leave that reward out, as in `'rewards={{accuracy: 1, format: 0}}'`, or {_TEMPLATE_HINT}"
            raise ContractError(f"{what}: the format reward could never be earned", hint=hint)

    def write(self, path: Path) -> None:
        """Writes the contract as JSON to `path` (the file, or the folder that gets a contract.json)."""
        found = asdict(self)
        # What came later is written only where it says something.
        unsaid = {**_LATER, "end_id": self.eos_ids[0] if self.eos_ids else -1}
        found = {name: value for name, value in found.items() if name not in unsaid or value != unsaid[name]}
        _file(path).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Contract:
        """Reads a contract.json (or the one in a folder); MissingError when absent, ContractError when unreadable."""
        file = _file(path)
        if not file.is_file():
            raise MissingError(f"no contract.json in `{file.parent}`", hint="import it: `r1 artifacts import SOURCE`")
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
            given = {f.name: raw[f.name] for f in fields(cls) if f.name in raw or f.name not in _LATER}
            tags = {key: (str(raw[key][0]), str(raw[key][1])) for key in ("think_tags", "answer_tags")}
            return cls(**{**given, **tags})
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ContractError(f"not a model contract ({error!r})", where=str(file), hint=_TEMPLATE_HINT) from error


ASKING = ("template", "template_name", "prefill", "syntax", "lead", "before_end")
"""Fields that say how a model is asked, and what stands around its response."""
_LATER = {"end_id": -1, "syntax": "text", "lead": "", "before_end": ""}
"""Fields that contracts written earlier lack, and what they then are."""
_TEMPLATE_HINT = "use template `r1_zero`, or one that names {prompt}, <think> </think> and <answer> </answer>"


def _file(path: Path) -> Path:
    return Path(path) / "contract.json" if Path(path).is_dir() else Path(path)
