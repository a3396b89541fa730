r"""The choice reward: a completion and a row whose gold is one or several option letters enter; 1 for those, else 0.

The letter may be dressed: `(B)`, `**B**`, `\text{(B)}`, `Ｂ`, `Ⓑ`, `option b`, `选B`, `B) 12`. What a sentence says of
its letters is read by `sentences.py`: `B, not C` and `B, since C ignores drag` are B, `B or C` is a hedge, `not B` is
none, and in `vitamin C` or `A level` there is no option. Where the answer stands is accuracy's rule: the answer tags,
the last box, the sentence that says so, else the last sentence after the thinking that settles on a letter.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.core.text import Commitment, last_committed
from stages.rewards.declared import Reward
from stages.rewards.verdict import Example, Verdict, shorten

MAX_CHARACTERS = 2000
"""Longer answers are no option letter: what is read of them."""
_TAIL = 4000  # characters of free text that are searched

_ALNUM = "A-Za-z0-9À-ɏͰ-ӿ"
_OPENING, _CLOSING = r"[\s(\[{<*_.:：（【「]*", r"[\s)\]}>*_.:：）】」。，,]*"
_SAID = r"(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?|答案[是为為]?|[应應]?[选選][择擇]?[项項]?"
_WRAPPED = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|boxed)\s?\{([^{}]*)\}")


class _Patterns(NamedTuple):
    """How letters are found: a text that is one, one in a text, several in a row, a text that is several."""

    whole: re.Pattern[str]
    letter: re.Pattern[str]
    run: re.Pattern[str]
    several: re.Pattern[str]


@cache
def _patterns(last: str) -> _Patterns:
    """The patterns of the letters from A to a last one."""
    big, one = f"[A-{last}]", rf"[(\[{{]*[A-{last}][)\]}}]*"
    return _Patterns(
        re.compile(rf"{_OPENING}(?:(?:{_SAID}){_OPENING})?({big}){_CLOSING}", re.IGNORECASE),
        re.compile(
            rf"(?<![{_ALNUM}\\])(?:\(\s?([A-{last}a-hj-{last.lower()}])\s?\)"
            rf"|(?<![A-Za-z]['’])(?!I(?:['’]| +(?!(?:is|because|since|rather|instead|over)\b)[a-z]))({big}))"
            rf"(?![{_ALNUM}]|['’][A-Za-z])"
        ),
        re.compile(rf"(?<![{_ALNUM}\\])(?=({big}{{2,10}})(?![{_ALNUM}]))(?!\w*(\w)\w*\2){big}+"),
        re.compile(rf"{one}(?:\s*(?:[,;、，&+]|and|和|与|及|以及|\s)?\s*{one}){{1,9}}\.?"),
    )


@Reward(
    "choice",
    pays="the option letter is right",
    values="0 or 1",
    needs=("gold",),
    trials=("hacks.form:CHOICE", "hacks.prose:CHOICE"),
)
def reward(completion: str, row: Prompt, contract: Contract) -> Verdict:
    """Judge the letters a completion commits to: 1 or 0; None for a row whose gold is none. Options are A to J, A to Z
    where the gold is beyond J."""
    found = last_committed(contract.prefill + completion, contract.think_tags, contract.answer_tags)
    if found.how == "none":
        return Verdict(0.0, found.text)
    text = unretracted(found, completion, contract)
    return judge(text, row.answer, free=found.how == "open")


def unretracted(found: Commitment, completion: str, contract: Contract) -> str:
    """Return a committed answer, with what stands behind its tags where that names a letter: "Sorry, B"."""
    rest = completion.rpartition(contract.answer_tags[1])[2] if found.how == "answer" else ""
    return f"{found.text}\n{rest.strip()}" if rest.strip() and letters(rest) else found.text


def judge(answer: str, gold: str, *, free: bool = False) -> Verdict:
    """Judge an answer against the gold letter or letters: 1, 0, or None for a gold that is none. With `free` the answer
    is a text that marks none: a later sentence replaces an earlier one."""
    wanted = golds(gold)
    if not wanted:
        return Verdict(None, "the gold answer is no option letter")
    given = letters(answer, runs=len(wanted) > 1, free=free, last=_last(wanted))
    named, expected = ("".join(sorted(each)) for each in (given, wanted))
    if not given or (len(given) > 1 and len(wanted) == 1):
        if free:
            return Verdict(0.0, "no answer found")
        return Verdict(0.0, f"not one option letter: {shorten(answer, 30) or 'empty answer'}")
    return (
        Verdict(1.0, f"answer {expected}") if given == wanted else Verdict(0.0, f"answer {named}, expected {expected}")
    )


def named(text: str, gold: str) -> str | None:
    """Return the letters that a text without marks commits to, where the gold is letters; None for none."""
    wanted = golds(gold)
    found = letters(text, runs=len(wanted) > 1, free=True, last=_last(wanted))
    return ", ".join(sorted(found)) or None


def option(answer: str) -> str | None:
    """Return the one option letter (A to J) a text names, however dressed; None for none, for one that is ruled out and
    for two different ones.
    """
    found = letters(answer)
    return next(iter(found)) if len(found) == 1 else None


def golds(gold: str) -> frozenset[str]:
    """Return the letters of a gold answer: those of which it consists, else the one that it commits to."""
    return bare(gold) or letters(gold) or bare(gold, "Z")


def _last(wanted: frozenset[str]) -> str:
    """Return the last letter that may be an option where these are right: J, as in nearly all sets, or Z."""
    return "J" if max(wanted, default="J") <= "J" else "Z"


def bare(text: str, last: str = "J") -> frozenset[str]:
    """Return the letters of a text that is nothing but one, however dressed, or several (`AD`, `A, D`, `A和D`); none
    for any other."""
    plain = _plain(text[:MAX_CHARACTERS]).strip()
    patterns = _patterns(last)
    found = re.findall(f"[A-{last}]", plain)
    alone = patterns.whole.fullmatch(plain)
    if alone or not patterns.several.fullmatch(plain):
        return frozenset(alone[1].upper() if alone else "")
    word = last > "J" and re.search("[A-Z]{2}", plain) is not None  # KING is no row of options
    return frozenset(found) if len(found) == len({*found}) and not word else frozenset()


def letters(text: str, *, runs: bool = False, free: bool = False, last: str = "J") -> frozenset[str]:
    """Return the option letters (A to `last`) that a text commits to: several where it joins them, none where it names
    none, offers a choice or rules them out. With `runs` letters in a row (`AD`) are several options; with `free` a
    later sentence replaces an earlier one, and the last 4,000 characters are read.
    """
    plain = _plain(text[-_TAIL:] if free else text[:MAX_CHARACTERS])
    patterns = _patterns(last)
    whole = patterns.whole.fullmatch(plain)
    if whole:
        return frozenset(whole[1].upper())
    from stages.rewards import sentences  # its tables cost more than a plan does
    from stages.rewards.sentence_words import Candidate

    found = [Candidate(*match.span(), (match[1] or match[2]).upper()) for match in patterns.letter.finditer(plain)]
    if runs:
        found = sorted(found + [Candidate(*match.span(), match.group()) for match in patterns.run.finditer(plain)])
    return frozenset("".join(sentences.committed(plain, found, last=free))) if found else frozenset()


def _plain(text: str) -> str:
    return _WRAPPED.sub(r" \1 ", unicodedata.normalize("NFKC", text)).replace("$", " ")


_B = {"answer": "B", "verifier": "choice"}

EXAMPLES = (
    Example("<think>It is A? No.</think><answer>B</answer>", _B, 1.0, "the template's own form"),
    Example("It is A? No.</think><answer>B</answer>", _B, 1.0, "the template prefilled <think>", prefill="<think>\n"),
    Example("<answer>(B)</answer>", _B, 1.0, "brackets"),
    Example("<answer>**b.**</answer>", _B, 1.0, "a small letter alone"),
    Example("<answer>Ｂ</answer>", _B, 1.0, "full width"),
    Example("<answer>（Ｂ）</answer>", _B, 1.0, "full-width brackets"),
    Example("So \\boxed{\\text{(B)}}.", _B, 1.0, "a box and LaTeX"),
    Example("<answer>option b</answer>", _B, 1.0, "a word before it"),
    Example("<answer>选B</answer>", _B, 1.0, "the same in Chinese"),
    Example("<answer>答案是（B）。</answer>", _B, 1.0, "a Chinese sentence"),
    Example("故答案为：B", _B, 1.0, "outside the tags"),
    Example("The correct answer is B.", _B, 1.0, "an English sentence"),
    Example("<answer>B) 12 apples</answer>", _B, 1.0, "a letter with its option"),
    Example("<answer>I think it is B</answer>", _B, 1.0, "the pronoun is no option"),
    Example("<answer>I</answer>", {"answer": "I", "verifier": "choice"}, 1.0, "but the letter is"),
    Example("<answer>J</answer>", {"answer": "(J) none", "verifier": "choice"}, 1.0, "ten options"),
    Example("after the swaps the ball is under B", _B, 1.0, "the last standalone letter"),
    Example("<answer>A</answer>", _B, 0.0, "another letter"),
    Example("It is A or B", _B, 0.0, "a hedge in prose"),
    Example("It is (A) and (B).", _B, 0.0, "both in prose"),
    Example("<answer>A or B</answer>", _B, 0.0, "a hedge"),
    Example("<answer>A、B</answer>", _B, 0.0, "a list"),
    Example("<answer>选A或B</answer>", _B, 0.0, "a Chinese hedge"),
    Example("<answer>not B</answer>", _B, 0.0, "a letter ruled out"),
    Example("<answer>不选B</answer>", _B, 0.0, "and in Chinese"),
    Example("<answer>Bob</answer>", _B, 0.0, "a word is no letter"),
    Example("<think>B</think> I am done", _B, 0.0, "an answer only inside the thinking"),
    Example("<think>it is B", _B, 0.0, "the thinking never ended"),
    Example("", _B, 0.0, "nothing at all"),
    Example("<answer>B</answer>", {"answer": "17", "verifier": "choice"}, None, "no gold letter, no verdict"),
)
