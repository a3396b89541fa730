"""The language reward: a completion and its row enter; the share of the thinking that is in the row's language leaves.

DeepSeek-R1 adds it from its first RL stage on, for all prompts: Num(Words_target) / Num(Words) over the chain of
thought (arXiv 2501.12948v2, eq. 7; how words were cut is not published). Here `stages.core.language.languages` cuts and
decides them; code, formulas, numbers, names and tags are no words, and in a program's thinking neither are its
instructions.
"""

from __future__ import annotations

import re

from stages.core import text
from stages.core.contract import Contract
from stages.core.language import codes
from stages.core.rows import JUDGES, Prompt
from stages.rewards import program
from stages.rewards.declared import Reward
from stages.rewards.verdict import Example, Verdict, shorten

_SAYS = re.compile(r"(?:&[a-z]{2,6};|<[^<>]{0,40}>|[\W_])*+\w")
"""A letter or a digit from the start on, markup aside."""
_ROUNDS = 8
_LOOP = re.compile(rf"(.{{1,16}}?)\1{{{_ROUNDS},}}", re.DOTALL)
"""A word or two said over and over: so many rounds count, or the loop would drown a thought in another tongue."""


@Reward(
    "language",
    pays="share of the thinking in the prompt's language (R1 v2, eq. 7)",
    values="0 to 1",
    trials=("hacks.language:TRIALS",),
)
def reward(completion: str, row: Prompt, contract: Contract) -> Verdict:
    """Return the share (0 to 1) of words in `row.language` among the words between the think tags.

    A language that is empty or `auto` is the prompt's own. A completion without any tag is all thinking, and so is one
    that thinks nothing where the template asks for none. 1 for thinking without words (12 + 5 = 17), since none is of
    another language; 0 for tags without thinking, but in the rows of learned judges, which need none; None for a
    language that is not told from others, or that the prompt does not tell.
    """
    from stages.core.language import languages  # its tables cost more than a plan does

    whole = contract.prefill + completion
    asked = row.language.strip()
    target = languages.target_of(row.problem) if asked.lower() in ("", "auto") else codes.base(asked)
    if target is None:
        unknown = (
            f"`{shorten(asked, 20)}` is not told from other languages" if asked else "the prompt tells no language"
        )
        return Verdict(None, unknown)
    thought = _thought(whole, row, contract)
    if thought is None:
        return Verdict(0.0, f"no {contract.think_tags[0]}")
    if not _SAYS.match(thought):
        if row.verifier in JUDGES:
            return Verdict(1.0, "no words in the thinking")
        return Verdict(0.0, "an empty thought")
    if row.verifier == "program":
        thought = program.without_instructions(thought)
    counts = languages.tally(_LOOP.sub(lambda loop: _ROUNDS * loop[1], thought), target)
    if not counts.total():
        return Verdict(1.0, "no words in the thinking")
    reason = f"{counts[target]} of {counts.total()} words in {target}"
    if asked.lower() not in ("", "auto") and not codes.is_code(asked, target):
        reason += f" (`{shorten(asked, 20)}` is taken as `{target}`)"
    return Verdict(counts[target] / counts.total(), reason)


def _thought(whole: str, row: Prompt, contract: Contract) -> str | None:
    """Return what is to be judged of prefill and completion: the thinking; all of it where it has no tags, or where it
    thinks nothing and no thinking is asked for; None where the tags are missing."""
    opening = contract.think_tags[0]
    if text.spans(whole, contract.think_tags):
        thought = text.thinking(whole, contract.think_tags)
        asks = opening in contract.shown and contract.think_tags[1] not in contract.prefill
        if asks or _SAYS.match(thought):
            return thought
        for tag in (*contract.think_tags, *contract.answer_tags):
            whole = whole.replace(tag, "\n")
        return whole
    tagged = any(tag in whole for tag in (*contract.think_tags, *contract.answer_tags))
    return whole if whole.strip() and not tagged else None


_ZH = {"language": "zh"}
_RUN = {"answer": "dbl", "verifier": "program", "meta": {"prefix": "set 7; add 5", "target": "24"}}

EXAMPLES = (
    Example("<think>First add them</think><answer>17</answer>", {}, 1.0, "all English"),
    Example("<think>先算再加</think><answer>17</answer>", _ZH, 1.0, "all Chinese"),
    Example("<think>先算再加</think><answer>17</answer>", {}, 0.0, "Chinese where English is wanted"),
    Example("<think>First add them</think><answer>17</answer>", _ZH, 0.0, "English where Chinese is wanted"),
    Example("<think>one 二 three 四</think>", {}, 0.5, "word by word"),
    Example("<think>one 二 three 四</think>", {"language": "zh-CN"}, 0.5, "a region changes nothing"),
    Example("<think>we check 我们检查</think>", _ZH, 0.5, "Chinese is cut into words: 我们 检查"),
    Example(
        "<think>Ich addiere die Zahlen. Then I check it.</think>", {"language": "de"}, 0.5, "one script, two tongues"
    ),
    Example(
        "<think>It is what we want. But er will die Summe.</think>", {}, 0.6, "`will` and `die` as their phrase has it"
    ),
    Example("<think>まず足します。首先我们把它们相加。</think>", {"language": "ja"}, 3 / 8, "kana decide a clause"),
    Example("<think>Alice 有 3 个苹果</think>", _ZH, 1.0, "a name is of no language"),
    Example("<think>Then 12+5=17</think><answer>一二三</answer>", {}, 1.0, "the answer is not thinking"),
    Example("一二</think><answer>17</answer>", _ZH, 1.0, "the template prefilled <think>", prefill="<think>\n"),
    Example("<think>12+5=17</think><answer>17</answer>", {}, 1.0, "no words of another language"),
    Example("<think>A-C:A>C, x = 3</think>", _ZH, 1.0, "a single letter is no word"),
    Example("<think></think><answer>Hello</answer>", _ZH, 0.0, "an empty thought"),
    Example("<think>先 $x + foo$ `int count` \\frac \\(bar\\)</think>", _ZH, 1.0, "formulas and code"),
    Example("<think>从 48 到 51 是 add 3; rep 2 dbl</think>", {**_ZH, **_RUN}, 1.0, "instructions are code"),
    Example("<think>从 48 到 51 是 add 3</think>", _ZH, 0.75, "but not in other families"),
    Example("<answer>17</answer>", {}, 0.0, "no thinking at all"),
    Example("", {}, 0.0, "nothing at all"),
    Example("First add them", _ZH, 0.0, "without any tag all is thinking"),
    Example("<think>cut 了", {}, 0.5, "cut off while thinking"),
    Example("<think>πρώτα</think>", {"language": "el"}, 1.0, "a script of its own"),
    Example("<think>d'abord</think>", {"language": "fr"}, 1.0, "a script that many languages share"),
    Example("<think>先算</think>", {"language": "", "problem": "十二加五是多少？"}, 1.0, "the prompt's own language"),
    Example("<think>first</think>", {"language": "auto", "problem": "12+5?"}, None, "a prompt without words"),
    Example("<think>najpierw</think>", {"language": "pl"}, None, "a language that is not told from others"),
)
