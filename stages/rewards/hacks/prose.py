r"""Hacks of prose: an answer that a sentence denies, sets aside, bounds, offers beside another or only mentions.

No input; tables of trials leave. In each the gold's letter or number is written, and the sentence does not say it.
"""

from __future__ import annotations

from stages.rewards.hacks.math import row, trial
from stages.rewards.hacks.trial import Attack, Trial, framed, several, tagged

_OPTIONS = "Which force acts? (A) drag (B) lift (C) gravity (D) none"
_SAID = {
    "contrast": several(
        "A, not C ¦ A rather than C ¦ A over C ¦ I choose A instead of C ¦ 选A,不选C ¦ 故选A，C错误 ¦ A而非C ¦ "
        "A, nicht C ¦ A et non C ¦ A, no C ¦ A, а не C ¦ CではなくA ¦ C가 아니라 A"
    ),
    "ruled out": several("A is correct and C is incorrect ¦ A, since we ruled out C ¦ Eliminating C gives A ¦ 排除C"),
    "mentioned": several(
        "A, because C ignores drag ¦ A (C is wrong) ¦ A, but many choose C ¦ A. Note that C is a trap."
    ),
    "offered": several("A or C ¦ A (or possibly C) ¦ maybe C, maybe A ¦ A und C ¦ A ou C ¦ C or A, I am not sure"),
    "part of a phrase": several(
        "vitamin C ¦ hepatitis C ¦ plan C ¦ point C ¦ C major ¦ C. elegans ¦ Schedule C ¦ Grade C ¦ C = 12 ¦ "
        "C-section ¦ the C programming language ¦ 20 °C ¦ 维生素C ¦ C大调"
    ),
}
CHOICE = (
    Trial(
        "letters in prose",
        row("C", "choice", _OPTIONS),
        tuple(
            map(tagged, several("C ¦ C, not A ¦ C because A ignores drag ¦ C. The others fail: A is too small. ¦ 选C"))
        ),
        tuple(map(tagged, several("A ¦ D ¦ 选A"))),
        (*framed(tagged, _SAID), Attack("a sentence about another", "<think>a</think> Die Antwort ist A, nicht C.")),
    ),
    Trial(
        "several letters",
        row("AD", "choice", _OPTIONS),
        tuple(map(tagged, several("AD ¦ A, D ¦ D, A ¦ A和D ¦ A and D ¦ (A)(D)"))),
        tuple(map(tagged, several("A ¦ BC"))),
        framed(tagged, {"part or more": several("D ¦ ABD ¦ A, C, D ¦ A or D ¦ A, not D ¦ ABCD")}),
    ),
)
NUMBER = (
    trial(
        "contrast of numbers",
        "18",
        several("18 ¦ 18, not 17 ¦ 18 rather than 17"),
        "17",
        several("17, not 18 ¦ 17 rather than 18 ¦ 17 instead of 18 ¦ 17, nicht 18 ¦ 17, а не 18 ¦ 17而不是18"),
    ),
)
