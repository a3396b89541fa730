"""The language reward: a completion and its row enter; the share of the thinking that is in the row's language leaves.

DeepSeek-R1 adds it from its first RL stage on, for all prompts: Num(Words_target) / Num(Words) over the chain of
thought (arXiv 2501.12948v2, eq. 7; how words were cut is not published). A Chinese character is a word; code, formulas,
numbers, tags and single letters are none, and in a program's thinking neither are its instructions.
"""

from __future__ import annotations

from stages.core import text
from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.rewards import program
from stages.rewards.verdict import Example, Verdict, shorten


def reward(completion: str, row: Prompt, contract: Contract) -> Verdict:
    """Return the share (0 to 1) of words in `row.language` among the words between the think tags.

    1 for thinking without words, since none is of another language; 0 without thinking tags; None for a language that
    its script does not tell from others.
    """
    whole = contract.prefill + completion
    language = shorten(row.language, 20)
    if text.script_of(row.language) is None:
        return Verdict(None, f"its script does not tell `{language}` from other languages")
    if not text.spans(whole, contract.think_tags):
        return Verdict(0.0, f"no {contract.think_tags[0]}")
    thought = text.thinking(whole, contract.think_tags)
    if row.verifier == "program":
        thought = program.without_instructions(thought)
    mine, total = text.language_words(thought, row.language) or (0, 0)
    if not total:
        return Verdict(1.0, "no words in the thinking")
    return Verdict(mine / total, f"{mine} of {total} words in {language}")


_ZH = {"language": "zh"}
_RUN = {"answer": "dbl", "verifier": "program", "meta": {"prefix": "set 7; add 5", "target": "24"}}

EXAMPLES = (
    Example("<think>First add them</think><answer>17</answer>", {}, 1.0, "all English"),
    Example("<think>先算再加</think><answer>17</answer>", _ZH, 1.0, "all Chinese"),
    Example("<think>先算再加</think><answer>17</answer>", {}, 0.0, "Chinese where English is wanted"),
    Example("<think>First add them</think><answer>17</answer>", _ZH, 0.0, "English where Chinese is wanted"),
    Example("<think>one 二 three 四</think>", {}, 0.5, "a Chinese character is a word"),
    Example("<think>one 二 three 四</think>", {"language": "zh-CN"}, 0.5, "a region changes nothing"),
    Example("<think>Then 12+5=17</think><answer>一二三</answer>", {}, 1.0, "the answer is not thinking"),
    Example("一二</think><answer>17</answer>", _ZH, 1.0, "the template prefilled <think>", prefill="<think>\n"),
    Example("<think>12+5=17</think><answer>17</answer>", {}, 1.0, "no words of another language"),
    Example("<think>A-C:A>C, x = 3</think>", _ZH, 1.0, "a single letter is no word"),
    Example("<think></think><answer>Hello</answer>", _ZH, 1.0, "empty thinking mixes nothing"),
    Example("<think>先 $x + foo$ `int count` \\frac \\(bar\\)</think>", _ZH, 1.0, "formulas and code"),
    Example("<think>从 48 到 51 是 add 3; rep 2 dbl</think>", {**_ZH, **_RUN}, 1.0, "instructions are code"),
    Example("<think>从 48 到 51 是 add 3</think>", _ZH, 0.75, "but not in other families"),
    Example("<answer>17</answer>", {}, 0.0, "no thinking at all"),
    Example("", {}, 0.0, "nothing at all"),
    Example("<think>cut 了", {}, 0.5, "cut off while thinking"),
    Example("<think>πρώτα</think>", {"language": "el"}, 1.0, "a script of its own"),
    Example("<think>d'abord</think>", {"language": "fr"}, None, "a script that many languages share"),
)
