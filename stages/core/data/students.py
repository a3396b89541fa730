"""The students that DeepSeek-R1 was distilled into, and two small ones of the embedded world.

What enters: a student's name, or the record of a model that was imported from the hub or the world. What leaves: its
base model, its published learning rate, and what one should know before spending a week on it. Repositories carry no
commit: the first download decides which one, and the record of the import says so.

Sources: base models and learning rates from DeepSeek-R1 (arXiv 2501.12948v2, appendix B.4.3); positions and
vocabulary sizes from the `config.json` of each base; what was changed from the cards and configs of the released
models ("we slightly change their configs and tokenizers").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stages.core.artifact import Record
from stages.core.data.imitation import S
from stages.core.errors import InputError, MissingError, nearest


@dataclass(frozen=True)
class Student:
    """A base model to distill into."""

    name: str
    """What people say: `r1 distill --student qwen-7b`."""
    source: str
    """The base, as the input of a stage names it."""
    learning_rate: float
    """Of AdamW at the start; published for the six of the paper, chosen for the embedded ones."""
    positions: int | None
    """`max_position_embeddings`: tokens of prompt and trace together; None = as the bundled config says."""
    vocab_size: int | None
    """Rows of the embedding, which may be more than the tokenizer knows; None = as the bundled config says."""
    changed: str
    """How the released student differs from its base besides the weights; empty = not released."""

    @property
    def repository(self) -> str:
        """The hub's name of the base; empty for an embedded student."""
        return self.source.removeprefix("hf:") if self.source.startswith("hf:") else ""


_QWEN = (
    "other bos, eos and pad tokens, a chat template that opens <think> and drops the reasoning of earlier turns, "
    "tokenizer class LlamaTokenizerFast"
)
_QWEN_MATH = f"max_position_embeddings 4,096 -> 131,072; {_QWEN}"
_LLAMA = "other bos, eos and pad tokens, and the same chat template"

STUDENTS: dict[str, Student] = {
    student.name: student
    for student in (
        Student("qwen-1.5b", "hf:Qwen/Qwen2.5-Math-1.5B", 1e-4, 4096, 151_936, f"{_QWEN_MATH}; embeddings untied"),
        Student("qwen-7b", "hf:Qwen/Qwen2.5-Math-7B", 8e-5, 4096, 152_064, _QWEN_MATH),
        Student("qwen-14b", "hf:Qwen/Qwen2.5-14B", 7e-5, 131_072, 152_064, _QWEN),
        Student("qwen-32b", "hf:Qwen/Qwen2.5-32B", 6e-5, 131_072, 152_064, _QWEN),
        Student("llama-8b", "hf:meta-llama/Llama-3.1-8B", 5e-5, 131_072, 128_256, _LLAMA),
        Student("llama-70b", "hf:meta-llama/Llama-3.3-70B-Instruct", 2e-5, 131_072, 128_256, _LLAMA),
        Student("qwen-nano", "world:qwen-nano", 1e-3, None, None, ""),
        Student("llama-nano", "world:llama-nano", 1e-3, None, None, ""),
    )
}
"""Name -> student."""


def find(name: str) -> Student:
    """The student of a name; raises MissingError with the nearest name."""
    if name not in STUDENTS:
        hint = f"{nearest(name, STUDENTS)}All students: {', '.join(STUDENTS)}"
        raise MissingError(f"no student `{name}`", hint=hint)
    return STUDENTS[name]


def source_of(text: str) -> str:
    """The input that `--student` means: a student's base, or the text itself when it is an address, a path or a source.

    Raises MissingError for a bare word close to a student's name, which would else be looked up as an artifact.
    """
    if text in STUDENTS:
        return STUDENTS[text].source
    if "@" not in text and ":" not in text and "/" not in text and nearest(text, STUDENTS).startswith("did"):
        from stages.core.storage.store import Store

        if Store().newest(text) is None:
            find(text)
    return text


def known(record: Record) -> Student | None:
    """The student whose untouched base this record is, or None: a local copy and a trained model have no name."""
    if record.stage != "import":
        return None
    source = (record.payload.get("recipe") or {}).get("source") or {}
    hub, world = source.get("hub"), (source.get("world") or {}).get("source")
    return next((one for one in STUDENTS.values() if (hub and one.repository == hub) or one.source == world), None)


def called(text: str) -> Student | None:
    """The student whose base an input's text names, at any revision, or None."""
    source = text.partition("@")[0] if text.startswith("hf:") else text
    return next((one for one in STUDENTS.values() if one.source == source), None)


def within(made: Iterable[S], limit: int, *, drop: bool, holder: str, knob: str = "") -> tuple[list[S], int]:
    """The traces of at most `limit` tokens, and how many were longer and left out, which `drop` must allow.

    A cut trace would teach a student to stop in mid-thought. Raises InputError, naming how many are longer and the
    longest, when they may not be dropped or nothing else is left; `holder` is who has room for `limit`, and `knob` the
    recipe key that gives it more.
    """
    kept: list[S] = []
    lengths: list[int] = []
    for example in made:
        lengths.append(example.tokens)
        if example.tokens <= limit:
            kept.append(example)
    longer = len(lengths) - len(kept)
    if longer and (not drop or not kept):
        longest = max(lengths)
        ways = ["leave them out: `too_long=drop`"] if kept else []
        ways += [f"give it more room: `{knob}={longest}`"] if knob else []
        raise InputError(
            f"{longer} of {len(lengths)} traces are longer than the {limit} tokens that the {holder} takes; the "
            f"longest has {longest}",
            hint=", or ".join(ways) or "take shorter traces",
        )
    return kept, longer
