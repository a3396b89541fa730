r"""The accuracy reward: is what the completion finally commits to the right answer? Tags are not required.

A completion and its row enter; 1, 0 or None leaves. The answer is looked for in this order: the last answer span, the
last \boxed{}, the sentence after "the answer is", then by verifier what the closing sentence states, the last option
letter or the last run of instructions; one that stands only inside the thinking does not count. `strict` asks for the
template's strict format as well, in which only `<answer>` counts: there it is the same verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from stages.core.contract import Contract
from stages.core.data import golds
from stages.core.rows import Prompt
from stages.core.text import SENTENCE_END, Commitment, format_fault, last_committed
from stages.rewards import choice, code, mathematics, program
from stages.rewards.declared import Judged, Reward
from stages.rewards.programs import forms
from stages.rewards.verdict import Example, Verdict, shorten

_SAYS = re.compile(r"(?:the answer is(?!n['’]t)|答案[是为為])\s*[:：]?\s*", re.IGNORECASE)
_GOLDS = 256  # of a row that has several
_WORDS = re.compile(r"(?<![\\A-Za-z])(?![A-J]+(?![^\W\d_]))[^\W\d_]{2,}")
_CAPITALS = re.compile(r"(?<![A-Za-z])[A-J]{2,10}(?![A-Za-z])")
_TAIL = 4000  # characters of free text that are searched for an answer nobody marked


@Reward(
    "accuracy",
    pays="the last committed answer is right, in any format",
    values="0 or 1",
    needs=("gold",),
    waits=True,
    builds_on=("code",),
    trials=(
        "hacks.math:NUMBERS",
        "hacks.math:OTHERS",
        "hacks.math:TEXTS",
        "hacks.math:BOXED",
        "hacks.kinds:KINDS",
        "hacks.prose:NUMBER",
    ),
)
def reward(completion: str, row: Prompt, contract: Contract, *, judged: Judged | None = None) -> Verdict:
    """Judge the last committed answer of a completion (any format): 1 right, 0 wrong or none, None cannot be judged.

    A program is right when it passes all tests: what `code` says of it, where that was asked, is not asked again.
    """
    if row.verifier == "code":
        return code.every(judged("code") if judged else code.reward(completion, row, contract, mode="all"))
    found = last_committed(contract.prefill + completion, contract.think_tags, contract.answer_tags)
    if found.how == "none":
        return Verdict(0.0, found.text)
    if row.verifier == "choice":
        found = found._replace(text=choice.unretracted(found, completion, contract))
    return _paid(_judged(committed(found, each), each) for each in _one_each(row))


@Reward(
    "strict",
    pays="the strict format holds and the tagged answer is right",
    values="0 or 1",
    needs=("gold",),
    waits=True,
    builds_on=("accuracy",),
    trials=("hacks.math:NUMBERS", "hacks.math:TEXTS", "hacks.form:ANSWERED"),
)
def strict(completion: str, row: Prompt, contract: Contract, *, judged: Judged | None = None) -> Verdict:
    """Judge the `<answer>` of a completion that keeps the strict format, as accuracy does: it commits to nothing else.
    Else 0 and the fault."""
    fault = format_fault(contract.prefill + completion, contract.think_tags, contract.answer_tags)
    if fault:
        return Verdict(0.0, fault)
    return judged("accuracy") if judged else reward(completion, row, contract)


def judge(answer_text: str, row: Prompt) -> Verdict:
    """Judge an extracted answer by the row's verifier: 1, 0, or None for a gold or a verifier that cannot be used.

    `meta["answers"]`, a list of texts, are golds of which any one is right.
    """
    return _paid(_judged(answer_text, each) for each in _one_each(row))


def said(answer: str) -> str:
    """Return what a sentence such as `The answer is 18.` or `答案是 18。` says, and any other answer as it is."""
    openings = list(_SAYS.finditer(answer))
    if len(openings) != 1 or not SENTENCE_END.fullmatch(answer[: openings[0].start()].rstrip()[-1:] or "."):
        return answer
    rest = answer[openings[0].end() :].rstrip()
    return rest[:-1].rstrip() if rest.endswith((".", "。")) else rest


def unanswered(row: Prompt) -> bool:
    """Whether a row's gold is a place holder (`nan`, `None`, `see solution`), by the list that `r1 prepare` drops rows
    by. `meta["real_answer"]` says that it is an answer all the same."""
    held = row.verifier in ("math", "exact") and bool(row.answer.strip()) and not row.meta.get("real_answer")
    return held and _is_missing(row.answer)


_is_missing = lru_cache(maxsize=1 << 16)(golds.is_missing)


def check_gold(row: Prompt) -> Verdict:
    """Judge a row's own gold answer, which must pass before it teaches: 1, else a verdict that says why not; of a row
    with several golds the first that does not pass."""
    verdicts = [_check_gold(each) for each in _one_each(row)]
    return next((one for one in verdicts if one.value != 1.0 or one.reason == mathematics.BY_TEXT), verdicts[0])


def _check_gold(row: Prompt) -> Verdict:
    if row.verifier == "code":
        fault = forms.read(row).fault
        return Verdict(None, fault) if fault else Verdict(1.0, "tests")
    if unanswered(row):
        return judge(row.answer, row)
    verdict = mathematics.check_gold(row.answer) if row.verifier == "math" else judge(row.answer, row)
    return judge(row.answer, row) if verdict.value == 1.0 and verdict.reason != mathematics.BY_TEXT else verdict


def _one_each(row: Prompt) -> list[Prompt]:
    """Return a row of several golds, any of which is right, as rows of one each."""
    if "answers" not in row.meta:
        return [row]
    rest = {key: value for key, value in row.meta.items() if key != "answers"}
    return [replace(row, answer=each, meta=rest) for each in golds.of_row(row.answer, row.meta)[:_GOLDS]]


def _paid(verdicts: Iterator[Verdict]) -> Verdict:
    """Return the first verdict that pays, else the first."""
    first = next(verdicts)
    return first if first.value == 1.0 else next((one for one in verdicts if one.value == 1.0), first)


def _judged(answer: str | None, row: Prompt) -> Verdict:
    """Judge an answer, where there is one, by the one gold of a row."""
    if unanswered(row):
        return Verdict(None, f"the gold `{shorten(row.answer, 30)}` only says that there is no answer")
    if answer is None:
        return Verdict(0.0, "no answer found")
    judges = {"math": _math, "choice": _choice, "program": _program, "exact": _exact}
    chosen = judges.get(row.verifier)
    return chosen(said(answer), row) if chosen else Verdict(None, f"unknown verifier `{shorten(str(row.verifier))}`")


def committed(found: Commitment, row: Prompt) -> str | None:
    """Return the committed answer; in text where nothing marks it, the last piece that the row's verifier can read."""
    if found.how != "open":
        return said(found.text)
    tail = found.text[-_TAIL:]
    if row.verifier == "math":
        if choice.bare(row.answer):
            return choice.named(tail, row.answer)
        return mathematics.last_answer(tail, row.answer)
    if row.verifier == "choice":
        return choice.named(tail, row.answer)
    if row.verifier == "program":
        return program.last_segment(tail)
    return tail.rsplit("\n", 1)[-1]


def _math(answer: str, row: Prompt) -> Verdict:
    """Judge a mathematical answer; where the gold is an option letter, sentences are read as choice reads them."""
    wanted = choice.bare(row.answer)
    gold = row.answer.strip()
    turned = any(sorted(run) == sorted(gold) and run != gold for run in _CAPITALS.findall(answer))
    if wanted and not turned and (_WORDS.search(answer) or choice.letters(answer) == wanted):
        return choice.judge(answer, row.answer)
    return mathematics.judge(answer, row.answer, worked=bool(row.problem.strip()), language=row.language)


def _choice(answer: str, row: Prompt) -> Verdict:
    return choice.judge(answer, row.answer)


def _program(answer: str, row: Prompt) -> Verdict:
    """Run the row's prefix and the answer together and compare the result with the target."""
    prefix = row.meta.get("prefix")
    try:
        target = int(row.meta.get("target", ""))
        program.parse(str(prefix))
    except (ValueError, TypeError):
        return Verdict(None, "the row's meta needs `prefix` (a program) and `target` (a whole number)")
    if not answer.strip():
        return Verdict(0.0, "empty answer")
    try:
        rest = program.parse(answer)
        if any(operation == "set" for operation, _, _ in rest):
            return Verdict(0.0, "`set` is not allowed in the answer")
        value = program.run(f"{str(prefix).strip().rstrip(';')}; {answer}")
    except program.ProgramError as error:
        return Verdict(0.0, f"program does not run: {error}")
    if value != target:
        return Verdict(0.0, f"ends with {value}, expected {target}")
    return Verdict(1.0, f"ends with {target}")


def _exact(answer: str, row: Prompt) -> Verdict:
    gold, given = " ".join(said(row.answer).split()), " ".join(answer.split())
    if not gold:
        return Verdict(None, "the row has no gold answer")
    if given == gold:
        return Verdict(1.0, f"answer {shorten(gold)}")
    return Verdict(0.0, f"answer {shorten(given, 30)}, expected {shorten(gold, 30)}" if given else "empty answer")


_SEVENTEEN = {"answer": "17", "verifier": "math"}
_B = {"answer": "B", "verifier": "choice"}
_RUN = {"answer": "dbl", "verifier": "program", "meta": {"prefix": "set 7; add 5", "target": "24"}}
_EAST = {"answer": "north east", "verifier": "exact"}

EXAMPLES = (
    Example("<think>12+5</think> <answer>17</answer>", _SEVENTEEN, 1.0, "the template's own form"),
    Example("12+5</think> <answer>17</answer>", _SEVENTEEN, 1.0, "the template prefilled <think>", prefill="<think>\n"),
    Example("<answer>17", _SEVENTEEN, 1.0, "an answer span may be cut off"),
    Example("<answer>17 apples</answer>", _SEVENTEEN, 1.0, "a unit"),
    Example("<answer>x = 17.</answer>", _SEVENTEEN, 1.0, "an equation and a full stop"),
    Example("<answer>12 + 5 = 17</answer>", _SEVENTEEN, 1.0, "a true equation ends in its answer"),
    Example("<answer>$17.00</answer>", _SEVENTEEN, 1.0, "currency"),
    Example("So we get \\boxed{17}.", _SEVENTEEN, 1.0, "a box without tags"),
    Example("First 3, then the answer is 17. Thanks for 5 minutes!", _SEVENTEEN, 1.0, "the sentence that says so"),
    Example("答案是17。", _SEVENTEEN, 1.0, "and in Chinese"),
    Example("#### 17", _SEVENTEEN, 1.0, "GSM8K's own mark"),
    Example("12 plus 5 makes 17", _SEVENTEEN, 1.0, "the last number"),
    Example("<think>17</think> I am done", _SEVENTEEN, 0.0, "an answer only inside the thinking"),
    Example("<think>it is 17", _SEVENTEEN, 0.0, "the thinking never ended"),
    Example("<answer>17 or 18</answer>", _SEVENTEEN, 0.0, "a hedge"),
    Example("<answer>17, 18</answer>", _SEVENTEEN, 0.0, "a list"),
    Example("<answer>12+5</answer>", _SEVENTEEN, 0.0, "the question again"),
    Example("<answer>12+5</answer>", {**_SEVENTEEN, "problem": ""}, 1.0, "a row without a question has none to repeat"),
    Example("The distance is 5*sqrt(2).", {"answer": "5\\sqrt{2}", "verifier": "math"}, 1.0, "what the last verb says"),
    Example("I cannot tell whether the answer is 17.", _SEVENTEEN, 0.0, "what is doubted is no answer"),
    Example("\\boxed{17 \\text{ m}}", {"answer": "17 \\text{ cm}", "verifier": "math"}, 0.0, "another unit"),
    Example("It is 16 or 17", _SEVENTEEN, 0.0, "a hedge in prose"),
    Example("<answer>17</answer> <answer>18</answer>", _SEVENTEEN, 0.0, "the last answer counts"),
    Example("", _SEVENTEEN, 0.0, "nothing at all"),
    Example("<answer>50%</answer>", {"answer": "1/2", "verifier": "math"}, 1.0, "a percentage is a number"),
    Example("\\boxed{\\frac{3}{4}}", {"answer": "0.75", "verifier": "math"}, 1.0, "a LaTeX fraction"),
    Example("<answer>1,234</answer>", {"answer": "1234", "verifier": "math"}, 1.0, "a thousands separator"),
    Example("\\boxed{1+2\\sqrt{3}}", {"answer": "2\\sqrt3+1", "verifier": "math"}, 1.0, "a formula by its value"),
    Example("\\boxed{1+\\frac1e}", {"answer": "1-\\frac{1}{e}", "verifier": "math"}, 0.0, "and not nearly"),
    Example("<answer>48+24</answer>", {"answer": "72", "verifier": "math"}, 0.0, "arithmetic left unworked"),
    Example("so \\boxed{1} and \\boxed{-2}", {"answer": "-2,1", "verifier": "math"}, 1.0, "boxes joined by a word"),
    Example("so \\boxed{16} or \\boxed{17}", _SEVENTEEN, 0.0, "are a hedge where the gold is one"),
    Example("it is $x > 5$.", {"answer": "(5,\\infty)", "verifier": "math"}, 1.0, "the last formula of a text"),
    Example("<answer>0.333</answer>", {"answer": "1/3", "verifier": "math"}, 0.0, "rounded too coarsely"),
    Example("<answer>5</answer>", {"answer": " ", "verifier": "math"}, None, "no gold, no verdict"),
    Example("<answer>(B)</answer>", _B, 1.0, "brackets"),
    Example("<answer>B 3</answer>", _B, 1.0, "a letter with its option"),
    Example("<answer>option B</answer>", _B, 1.0, "a word before it"),
    Example("after the swaps the ball is under B", _B, 1.0, "the last standalone letter"),
    Example("<answer>A or B</answer>", _B, 0.0, "a hedge"),
    Example("<answer>A B</answer>", _B, 0.0, "a list"),
    Example("<answer>Bob</answer>", _B, 0.0, "a word is no letter"),
    Example("<answer> dbl </answer>", _RUN, 1.0, "the rest of a program"),
    Example("<answer>The answer is add 12.</answer>", _RUN, 1.0, "a sentence that says the answer"),
    Example("<answer>答案是 dbl。</answer>", _RUN, 1.0, "and in Chinese"),
    Example("<answer>The answer is add 1. The answer is dbl.</answer>", _RUN, 0.0, "two sentences are a hedge"),
    Example("<answer>The answer is north east.</answer>", _EAST, 1.0, "a sentence around a text"),
    Example("<answer>add 6;  add 6</answer>", _RUN, 1.0, "another program to the same end"),
    Example("12 * 2 = 24 so dbl", _RUN, 1.0, "the last run of instructions"),
    Example("<answer>set 24</answer>", _RUN, 0.0, "printing the target is no program"),
    Example("<answer>rep 99999 rep 99999 add 1</answer>", _RUN, 0.0, "the step limit"),
    Example("<answer>dbl dbl</answer>", _RUN, 0.0, "strict syntax"),
    Example("<answer>north  east</answer>", _EAST, 1.0, "whitespace is free"),
    Example("<answer>5</answer>", {"answer": "5", "verifier": "poetry"}, None, "a verifier nobody knows"),
)

STRICT_EXAMPLES = (
    Example("<think>12+5</think> <answer>17</answer>", _SEVENTEEN, 1.0, "the template's own form"),
    Example("12+5</think> <answer>17</answer>", _SEVENTEEN, 1.0, "the template prefilled <think>", prefill="<think>\n"),
    Example("<think>12+5</think> <answer>18</answer>", _SEVENTEEN, 0.0, "strict and wrong"),
    Example("<answer>17</answer>", _SEVENTEEN, 0.0, "right without thinking"),
    Example("<think>12+5</think> \\boxed{17}", _SEVENTEEN, 0.0, "right without <answer>"),
    Example("<think>12+5</think> <answer>17</answer> 17", _SEVENTEEN, 0.0, "right and more"),
    Example("<think>a</think><answer>5</answer>", {"answer": " ", "verifier": "math"}, None, "no gold, no verdict"),
)
