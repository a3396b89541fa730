r"""The choice reward: a completion and a row whose gold is an option letter enter; 1 for that letter, else 0, leaves.

The letter may be dressed: `(B)`, `**B**`, `\text{(B)}`, `Ｂ`, `option b`, `选B`, `B) 12`. Two letters are a hedge and
score 0, wherever they stand in the answer; so does a letter that is only ruled out (`not B`). Where the answer stands
is accuracy's rule: the answer tags, the last box, the sentence that says so, else the last letter after the thinking.
"""

from __future__ import annotations

import re

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.core.text import last_committed
from stages.rewards.declared import Reward
from stages.rewards.verdict import Example, Verdict, shorten

MAX_CHARACTERS = 2000
"""Longer answers are no option letter: what is read of them."""

_LETTER = re.compile(r"(?<![A-Za-z0-9'’\\])([A-J])(?![A-Za-z0-9'’])")
_OPENING, _CLOSING = r"[\s(\[{<*_.:：（【「]*", r"[\s)\]}>*_.:：）】」。，,]*"
_SAID = r"(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?|答案[是为為]?|[应應]?[选選][择擇]?[项項]?"
_WHOLE = re.compile(rf"{_OPENING}(?:(?:{_SAID}){_OPENING})?([A-J]){_CLOSING}", re.IGNORECASE)
_WRAPPED = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|boxed)\s?\{([^{}]*)\}")
_OPENS = re.compile(r"\s*\**(?:\(([A-J])\)|([A-J])[.):])\s+\S")
_FULL_WIDTH = {0xFF21 + i: ord("A") + i for i in range(26)} | {0xFF41 + i: ord("a") + i for i in range(26)}
_JOINT = re.compile(rf"{_CLOSING}(?:or|and|/|&|或者?|和|与|及)(?: option| choice)?{_OPENING}", re.IGNORECASE)
_PRONOUN = re.compile(r"I(?=['’]| +[a-z])")  # "I think", "I'm"
_RULED_OUT = re.compile(
    r"(?:\b(?:not|isn['’]t|never|except|neither|nor|(?:any|every)thing but|(?:all|any) but)(?: the| option| choice)*"
    r"|不[是选選会會]|非|除了?)[\s(\[*（]*$",
    re.IGNORECASE,
)


@Reward("choice", pays="the option letter is right", values="0 or 1", needs=("gold",), trials=("hacks.form:CHOICE",))
def reward(completion: str, row: Prompt, contract: Contract) -> Verdict:
    """Judge the letter (A to J) a completion commits to: 1 or 0; None for a row whose gold is no letter."""
    found = last_committed(contract.prefill + completion, contract.think_tags, contract.answer_tags)
    if found.how == "none":
        return Verdict(0.0, found.text)
    answer = found.text
    if found.how == "open":
        last = last_option(answer)
        if last is None:
            return Verdict(0.0, "no answer found")
        answer = last
    return judge(answer, row.answer)


def judge(answer: str, gold: str) -> Verdict:
    """Judge an extracted answer against the gold letter: 1, 0, or None for a gold that is none."""
    wanted = option(gold)
    if wanted is None:
        return Verdict(None, "the gold answer is no option letter A to J")
    given = option(answer)
    if given is None:
        return Verdict(0.0, f"not one option letter: {shorten(answer, 30) or 'empty answer'}")
    return Verdict(1.0, f"answer {wanted}") if given == wanted else Verdict(0.0, f"answer {given}, expected {wanted}")


def option(answer: str) -> str | None:
    """Return the one option letter (A to J) a text names, however dressed; None for none, for one that is ruled out and
    for two different ones.
    """
    text = _plain(answer[:MAX_CHARACTERS])
    whole = _WHOLE.fullmatch(text)
    if whole:
        return whole[1].upper()
    letters = _letters(text)
    if len({match[1] for match in letters}) != 1:
        return None
    ruled_out = any(_RULED_OUT.search(text[max(0, match.start() - 40) : match.start()]) for match in letters)
    return None if ruled_out else letters[0][1]


def opening(text: str) -> str | None:
    """Return the letter that a text's last line opens with as an option, `(C) 24` or `C. 24`; None for any other."""
    match = _OPENS.match(_plain(text).rstrip().rpartition("\n")[2])
    return match and (match[1] or match[2])


def last_option(text: str) -> str | None:
    """Return the last standalone option letter of free text, of which the last 4000 characters are read; None where
    there is none and where "or" or "and" joins it to another."""
    text = _plain(text[-4000:])
    letters = _letters(text)
    if not letters:
        return None
    before = letters[-2] if len(letters) > 1 else None
    if before and before[1] != letters[-1][1] and _JOINT.fullmatch(text[before.end() : letters[-1].start()]):
        return None
    return letters[-1][1]


def _plain(text: str) -> str:
    return _WRAPPED.sub(r" \1 ", text.translate(_FULL_WIDTH)).replace("$", " ")


def _letters(text: str) -> list[re.Match[str]]:
    return [match for match in _LETTER.finditer(text) if not _PRONOUN.match(text, match.start())]


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
