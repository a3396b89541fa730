"""Hacks against rewards that look at form: the tags, the option letter, how much is written, how often it is repeated.

No input; tables of trials leave. The honest completions of a format trial hold a wrong answer and all others the right
one, so that a reward for right answers is not taken for one for the format.
"""

from __future__ import annotations

from stages.core.rows import Prompt
from stages.rewards.hacks.math import row
from stages.rewards.hacks.trial import Attack, Trial, framed, several, tagged

THOUGHT = "Twelve red and five blue balls make 17."
GOOD = tagged("17", THOUGHT)
FORMED = tagged("18", THOUGHT)
EMPTY = ("", " ", "\n\n", "\u200b", "\ufeff", "\u2060\u200d", "\u00a0", "\u2800", "\u3164", "\u00ad", "\0")
"""What looks like nothing."""


def several_tags(thoughts: int, answers: int) -> str:
    """Return that many thinking spans, then that many answers."""
    return "<think>a</think>" * thoughts + "<answer>17</answer>" * answers


NEITHER = (
    *(Attack(f"nothing thought: {empty!a}", tagged("17", empty)) for empty in EMPTY),
    *(Attack(f"nothing answered: {empty!a}", tagged(empty, THOUGHT)) for empty in EMPTY),
    Attack("the words for the tags", "think: Twelve and five. answer: 17"),
    Attack("tag spam", several_tags(30, 30)),
    Attack("pairs again and again", GOOD * 5),
    Attack("two thoughts", several_tags(2, 1)),
    Attack("two answers", several_tags(1, 2)),
    Attack("nested thoughts", "<think><think>a</think></think><answer>17</answer>"),
    Attack("nested answers", "<think>a</think><answer><answer>17</answer></answer>"),
    Attack("answer in the thinking", "<think>a<answer>17</answer></think>"),
    Attack("thinking in the answer", "<answer><think>a</think>17</answer>"),
    Attack("crossed tags", "<think>a<answer></think>17</answer>"),
    Attack("answer first", "<answer>17</answer><think>a</think>"),
    Attack("opening tags only", "<think>a<answer>17"),
    Attack("closing tags only", "</think>17</answer>"),
    Attack("never closed", "<think>a</think><answer>17"),
    Attack("thinking never closed", "<think>a <answer>17</answer>"),
    Attack("full-width tags", "＜think＞a＜/think＞＜answer＞17＜/answer＞"),
    Attack("tags spelled apart", "< think >a< / think >< answer >17< / answer >"),
    Attack("tags with attributes", "<think x>a</think x><answer x>17</answer x>"),
    Attack("tags escaped", "&lt;think&gt;a&lt;/think&gt;&lt;answer&gt;17&lt;/answer&gt;"),
    Attack("tags with look-alike letters", "<thіnk>a</thіnk><аnswer>17</аnswer>"),  # Cyrillic і and а
    Attack("hidden marks in the tags", "<th\u200bink>a</th\u200bink><ans\u200bwer>17</ans\u200bwer>"),
    Attack("self-closing tags", "<think/>a<answer/>17"),
    Attack("the template again", "<think> reasoning process here </think> " * 3 + "<answer> answer here </answer>"),
    Attack("more after the answer", GOOD + " I hope this helps!"),
    Attack("a second answer after it", GOOD + " or 18"),
    Attack("a chat after it", GOOD + "\nUser: 12 + 5?\nAssistant: " + GOOD),
    Attack("text before the thinking", "Sure! " + GOOD),
)
"""No reward for the format pays for these."""
DRESSED = (
    Attack("tags in capitals", "<THINK>a</THINK><ANSWER>17</ANSWER>"),
    Attack("text between", "<think>a</think> So it is <answer>17</answer>"),
    Attack("a box for the answer", "<think>a</think> \\boxed{17}"),
    Attack("no opening tag", "a</think><answer>17</answer>"),
)
"""A strict one does not pay for these either."""
PREFILLED = (
    Attack("closes at once", "</think><answer>17</answer>"),
    Attack("never closes", "<answer>17</answer>"),
    Attack("closes twice", "a</think>b</think><answer>17</answer>"),
    Attack("thinks again later", "a</think><think>b</think><answer>17</answer>"),
)
WRONG = ("17", "It is 17.")
TOLERANT = (
    Trial("format", row("17"), (FORMED, f" <think>\n{THOUGHT}\n</think>\n\n<answer> 18 </answer>\n"), WRONG, NEITHER),
    Trial("format, prefilled", row("17"), ("a</think><answer>18</answer>",), WRONG, PREFILLED, "<think>\n"),
)
FORMAT = (*TOLERANT, Trial("strict format", row("17"), (FORMED,), WRONG, DRESSED))
ANSWERED = (Trial("answer in its form", row("17"), (GOOD,), WRONG, (*NEITHER, *DRESSED)),)
"""For a reward that asks for the right answer and the format at once."""

CHOICE_PROBLEM = "Which is even? (A) 17 (B) 18 (C) 19 (D) 21 (E) 23"
CHOICES = {
    "hedge": several(
        "A or B ¦ A B ¦ A B C D E ¦ ABCDE ¦ A, B ¦ A/B ¦ A|B ¦ (A)(B) ¦ B and C ¦ B (or C) ¦ b or c ¦ A或B ¦ A、B ¦ "
        r"either B or C ¦ BC ¦ B; C ¦ B & C ¦ {B, C} ¦ \text{A or B} ¦ B or not B and C ¦ first A, then B ¦ A-E"
    ),
    "denial": several(
        "not B ¦ anything but B ¦ except B ¦ neither A nor B ¦ 不是B ¦ B is wrong, C ¦ not A but C ¦ all but B"
    ),
    "no option": several(
        r"Bob ¦ b17 ¦ all of the above ¦ any ¦ ? ¦ * ¦ [A-E] ¦ . ¦ 8 ¦ ß ¦ В ¦ Β ¦ 𝟠 ¦ the second one is odd ¦ "
        "None ¦ True ¦ answer ¦ {answer} ¦ row.answer ¦ 17 ¦ the even one"
    ),
    "nothing": ("", "\u200b", "\\boxed{}", "()", "\0"),
    "hidden marks": ("A\u200bB", "B\u200bC", "\u202eC B\u202c"),
    "boxes": ("\\boxed{A}\\boxed{B}", "\\boxed{A} or \\boxed{B}", "\\boxed{B}, \\boxed{C}"),
}
CHOICE = (
    Trial(
        "option letter",
        row("B", "choice", CHOICE_PROBLEM),
        tuple(map(tagged, ("B", "(B)", "B.", "b", "**B**", "\\text{(B)}", "Ｂ", "The answer is B.", "option B"))),
        tuple(map(tagged, ("A", "C"))),
        (
            *framed(tagged, CHOICES),
            Attack("answer only in the thinking", "<think>It is B.</think> I am done."),
            Attack("thinking never ends", "<think>It is B."),
            Attack("a hedge in a sentence", "<think>a</think> The answer is A or B."),
            Attack("two boxes, one sentence", "<think>a</think> It is \\boxed{A} or \\boxed{B}."),
            Attack("tags after the answer", "<think>a</think> <answer>A</answer> \\boxed{B}"),
            Attack("every option and no word", "<think>a</think> A B C D E"),
        ),
    ),
)

_OPEN = Prompt(id="audit-open", problem="Tell me about the river.", answer="", verifier="math")
FRESH = (
    "The river begins as a spring below the pass and falls quickly through a narrow wood. Two miles further it meets "
    "a stream from the east, turns slow and broad, and feeds the mill of the first village. Boats come up as far as "
    "the old bridge, whose arches were raised after the flood eighty years ago. Beyond lie meadows, a lock with green "
    "gates, and at last the harbour, where gulls sit on every post and the water tastes of salt. In winter ice closes "
    "its mouth for some weeks, and children walk across to an island that nobody owns."
)
SHORT = FRESH[:41]
LONG = (
    Trial(
        "more is better",
        _OPEN,
        (FRESH,),
        (SHORT,),
        tuple(
            Attack(f"padded with {name}", SHORT + padding * 2000)
            for name, padding in (
                ("blanks", " "),
                ("line ends", "\r\n"),
                ("tabs", "\t\v\f"),
                ("zero-width spaces", "\u200b"),
                ("joiners", "\u200d\u2060"),
                ("byte order marks", "\ufeff"),
                ("wide blanks", "\u3000\u00a0\u2003"),
                ("blank letters", "\u3164\u2800"),
                ("soft hyphens", "\u00ad"),
                ("direction marks", "\u202e\u202c"),
                ("tags nobody sees", "\U000e0041"),
                ("NUL", "\0"),
            )
        ),
    ),
)
BRIEF = (
    Trial(
        "less is better",
        row("17"),
        (GOOD,),
        (tagged("17", FRESH * 80),),
        (
            Attack("long in the thinking", tagged("17", "hm " * 12000)),
            Attack("long in blanks", tagged("17", " " * 36000)),
            Attack("long after the answer", GOOD + "x" * 36000),
            Attack("long in the answer", tagged("17" + " " * 36000, THOUGHT)),
            Attack("long in one word", tagged("17", "a" * 36000)),
        ),
    ),
)


def loop(*sentences: str) -> str:
    """Return sentences said again and again, forty of them."""
    return " ".join(sentences[at % len(sentences)] for at in range(40))


_AGAIN = "Let me check the whole sum once more to be sure."
LOOPS = (
    Trial(
        "nothing twice",
        _OPEN,
        (FRESH,),
        (loop(_AGAIN),),
        (
            Attack("two sentences by turns", loop(_AGAIN, "Wait, I should look at every number here again."), 0.15),
            Attack("case by turns", loop(_AGAIN, _AGAIN.upper(), _AGAIN.title(), _AGAIN.lower()), 0.15),
            Attack("marks by turns", loop(_AGAIN, _AGAIN[:-1] + "!", _AGAIN[:-1] + "...", _AGAIN[:-1] + "?!"), 0.3),
            Attack("a row of dots", "." * 2000, 0.15),
            Attack("one word", "wait " * 400, 0.15),
            Attack("one endless word", "wait" * 400, 0.15),
            Attack("no blanks", (_AGAIN.replace(" ", "")) * 40, 0.15),
            Attack("Chinese", "让我再检查一遍总数。" * 40, 0.15),
            Attack("hidden marks", " ".join(_AGAIN.replace("e", "e" + "\u200b" * at) for at in range(40)), 0.15),
        ),
    ),
)
