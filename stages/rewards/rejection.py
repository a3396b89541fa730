"""Rejection, one completion at a time: a judged completion enters, its first fault or its final text leaves.

The order of REASONS is the order in which faults are looked for, cheap ones first, so each discarded completion counts
once, under the first of them. Nothing here asks a model.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import ne
from typing import NamedTuple

from stages.core import text
from stages.core.contract import Contract
from stages.core.data import rewriting
from stages.core.errors import InputError
from stages.core.language import readable, scripts
from stages.core.rowfile import RowFile
from stages.core.rows import RULES, Prompt, Sample
from stages.rewards import accuracy
from stages.rewards import format as format_reward

TRUNCATED, WRONG, NO_FORMAT = "truncated", "wrong answer", "no strict format"
UNJUDGED = "no rule or judge can tell"
MIXED, FOREIGN = "mixed languages", "other language than the prompt"
LONG, CODE, REPEATS = "paragraph too long", "code block in the reasoning", "repetition"
CONTAMINATED, DUPLICATE = "contaminated", "duplicate"
JUDGED_WRONG, UNREADABLE_JUDGE = "wrong by the judge", "the judge's reply is unreadable"
OVER_CAP = "more than keep_per_prompt"
CHANGED, UNREADABLE_REWRITE = "rewrite changed the answer", "rewrite fails a filter"

REASONS = (
    TRUNCATED,
    WRONG,
    UNJUDGED,
    NO_FORMAT,
    MIXED,
    FOREIGN,
    LONG,
    CODE,
    REPEATS,
    CONTAMINATED,
    DUPLICATE,
    JUDGED_WRONG,
    UNREADABLE_JUDGE,
    OVER_CAP,
    UNREADABLE_REWRITE,
    CHANGED,
)
"""Every reason for which a completion is left out, in the order they are looked for."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What counts as readable; see `curate.Recipe` for each."""

    max_paragraph: int | None = None
    max_repetition: float = 1.0
    repetition_ngram: int = 6
    mixed_languages: bool = True
    other_language: bool = True
    code_blocks: bool = True

    def translated(self) -> Limits:
        """The limits of a chain that will be translated: it may be in another language."""
        return replace(self, other_language=True)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A completion on its way to be a response."""

    row: Prompt
    sample: int
    completion: str
    """As it was sampled, its answer between the tags."""
    truncated: bool
    reasoning: str
    """What is between the think tags; later what the rewriter made of it."""
    answer: str
    """What is between the answer tags; later the summary."""
    right: float | None
    """The rule's verdict; None: no rule can tell."""
    committed: str
    """The bare answer before any rewriting."""
    fault: str = ""
    """The first reason to leave it out; "" = kept so far."""

    def faulted(self, fault: str) -> Candidate:
        """The candidate with a fault, if it has none yet."""
        return replace(self, fault=fault) if fault and not self.fault else self

    def with_part(self, part: str, written: str) -> Candidate:
        """The candidate with its `reasoning` or `answer` written anew; nothing written is a fault."""
        if not written.strip():
            return self.faulted(UNREADABLE_REWRITE)
        said = written.strip()
        return replace(self, reasoning=said) if part == "reasoning" else replace(self, answer=said)


class Stretch(NamedTuple):
    """Some prompts and all samples of each, where they lie."""

    prompts: RowFile[Prompt]
    samples: RowFile[Sample]


def stretches(
    prompts: RowFile[Prompt], samples: RowFile[Sample], least: int, least_bytes: int, *, where: str
) -> Iterator[Stretch]:
    """Yield all samples in stretches of whole prompts, each of `least` samples and `least_bytes` bytes or more, but the
    last. Of a row only its id is read. Samples of a prompt that do not follow each other are put together.

    Raises InputError at `where` for a sample of no prompt.
    """
    places = {own: place for place, own in enumerate(prompts.ids())}
    try:
        owners = array("Q", map(places.__getitem__, samples.ids()))
    except KeyError as error:
        what = f"a sample answers the prompt `{error.args[0]}`, which prompts.jsonl does not hold"
        raise InputError(what, where=where, hint="sample again: `r1 sample`") from None
    del places
    if sum(map(ne, owners, owners[1:])) >= len(set(owners)):  # more changes than prompts: some come back
        order = sorted(range(len(owners)), key=owners.__getitem__)
        samples, owners = samples.picked(order), array("Q", map(owners.__getitem__, order))
    sizes = samples.sizes()
    start = held = 0
    for at in range(1, len(owners) + 1):
        held += sizes[at - 1]
        full = at - start >= least and held >= least_bytes
        if at == len(owners) or (full and owners[at] != owners[at - 1]):
            yield Stretch(prompts.picked(dict.fromkeys(owners[start:at])), samples[start:at])
            start, held = at, 0


def candidate(row: Prompt, sample: Sample, contract: Contract) -> Candidate:
    """Return a sampled completion taken apart; the rule's verdict is the sample's own `accuracy`, or given here."""
    completion = contract.tagged(sample.completion)
    whole = contract.prefill + completion
    right = None
    if row.verifier in RULES:
        known = "accuracy" in sample.rewards
        right = sample.rewards["accuracy"] if known else accuracy.reward(sample.completion, row, contract).value
    answer = text.summary(whole, contract.think_tags, contract.answer_tags) or ""
    return Candidate(
        row=row,
        sample=sample.sample,
        completion=completion,
        truncated=sample.truncated,
        reasoning=text.thinking(whole, contract.think_tags).strip(),
        answer=answer,
        right=right,
        committed=rewriting.bare_answer(answer),
    )


def first_fault(one: Candidate, contract: Contract, limits: Limits, *, judged: bool, contaminated: bool) -> str:
    """Return the first reason to leave a completion out that needs no model to be seen, or "".

    `judged`: a generative judge will be asked about what no rule can tell (it needs a reference answer).
    `contaminated`: the prompt shares an n-gram with an evaluation prompt.
    """
    if one.truncated:
        return TRUNCATED
    if one.right is not None and one.right < 1.0:
        return WRONG
    if one.right is None and not (judged and one.row.answer.strip()):
        return UNJUDGED
    if format_reward.reward(one.completion, one.row, contract).value != 1.0:
        return NO_FORMAT
    return unreadable(one.reasoning, one.row.language, contract, limits) or (CONTAMINATED if contaminated else "")


def unreadable(reasoning: str, language: str, contract: Contract, limits: Limits) -> str:
    """Return the first reason why reasoning is unfit to be read by who asked in `language`, or ""."""
    return _unreadable(reasoning, language, contract.answer_tags, limits)


@lru_cache(maxsize=2048)  # what a rewriter leaves as it was is not read again
def _unreadable(reasoning: str, language: str, answer_tags: tuple[str, str], limits: Limits) -> str:
    if not limits.mixed_languages and scripts.mixes_languages(reasoning, answer_tags):
        return MIXED
    if not limits.other_language and not readable.speaks(reasoning, language):
        return FOREIGN
    if limits.max_paragraph is not None and readable.longest_paragraph(reasoning) > limits.max_paragraph:
        return LONG
    if not limits.code_blocks and readable.has_code_block(reasoning):
        return CODE
    return REPEATS if text.repetition(reasoning, limits.repetition_ngram) > limits.max_repetition else ""


def without_duplicates(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates, those faulted that repeat the reasoning of an earlier good one of the same prompt."""
    seen: set[tuple[str, str]] = set()
    after = []
    for one in candidates:
        key = (one.row.id, readable.fresh_key(one.reasoning))
        after.append(one.faulted(DUPLICATE) if key in seen else one)
        if not one.fault:
            seen.add(key)
    return after


def by_rules(one: Candidate) -> Candidate:
    """Return a candidate with tidy reasoning and, where a rule judges its answer, the sentence that says it."""
    language = one.row.language
    said = one.answer if one.right is None else rewriting.summary(one.answer, language)
    return replace(one, reasoning=rewriting.tidy(one.reasoning, language), answer=said)


def checked(one: Candidate, contract: Contract, limits: Limits) -> Candidate:
    """Return a rewritten candidate, faulted when it fails the filters or says another answer than before.

    A rule judges the answer again in the strict format, as later stages will; where there is none, the bare answers
    must be the same.
    """
    if one.fault:
        return one
    response = contract.respond(one.reasoning, one.answer)
    formed = format_reward.reward(response, one.row, contract).value == 1.0
    if not formed or unreadable(one.reasoning, one.row.language, contract, limits):
        return one.faulted(UNREADABLE_REWRITE)
    if one.right is not None:
        same = accuracy.strict(response, one.row, contract).value == 1.0
    else:
        same = text.canonical(rewriting.bare_answer(one.answer)) == text.canonical(one.committed)
    return one if same else one.faulted(CHANGED)
