r"""Hacks of the kinds that graders report: another unit, currency, word, mark, sign, order, case or domain.

No input; a table of trials leaves, one for each kind. In each the answer has the gold's number or letters, and
something beside them that makes it another answer.
"""

from __future__ import annotations

from stages.rewards.hacks.math import trial
from stages.rewards.hacks.trial import several

KINDS = (
    trial(
        "unit, both written",
        "5 mA",
        several(r"5 mA ¦ 0.005 A ¦ 5\text{ mA} ¦ 5"),
        "6 mA",
        several("5 MA ¦ 5 A ¦ 5 mV ¦ 5 lux"),
    ),
    trial(
        "temperature",
        r"20^\circ\text{C}",
        several(r"20 °C ¦ 68 °F ¦ 293.15 K ¦ 20"),
        "21 °C",
        several("20 °F ¦ 20 K ¦ 20℉"),
    ),
    trial(
        "currency", r"\$5", several(r"\$5 ¦ 5 dollars ¦ 500 cents ¦ 5"), r"\$6", several("€5 ¦ 5 € ¦ £5 ¦ 5 yen ¦ 5元")
    ),
    trial(
        "number forms",
        "3.5",
        several("3.5 ¦ 3,5 kg ¦ 7/2 ¦ 3 1/2 ¦ three and a half"),
        "3.6",
        several("35 ¦ 3{,}50{,}0 ¦ 3.500.000"),
    ),
    trial(
        "word beside",
        "20% increase",
        several("20% increase ¦ an increase of 20% ¦ 20%"),
        "30% increase",
        several("20% decrease ¦ a loss of 20%"),
    ),
    trial(
        "things counted",
        "3 apples, 4 pears",
        several("3 apples, 4 pears ¦ 4 pears and 3 apples"),
        "3 apples, 5 pears",
        several("4 apples, 3 pears"),
    ),
    trial(
        "logic",
        r"p \land q",
        several(r"p \land q ¦ q \wedge p"),
        r"p",
        several(r"p \lor q ¦ p \oplus q ¦ \neg p ¦ p \to q"),
    ),
    trial("marks", r"\dot{x}", several(r"\dot{x} ¦ \dot x"), "y", several(r"x ¦ \ddot{x} ¦ \bar{x} ¦ x'")),
    trial("order", r"A \to B", several(r"A \to B ¦ A \rightarrow B"), "C", several(r"B \to A ¦ A \leftarrow B")),
    trial("case", "Co", several(r"Co ¦ \mathrm{Co}"), "Fe", several("CO ¦ cO ¦ OC")),
    trial(
        "rounded chain",
        r"\frac{2}{3}",
        several(r"\frac{2}{3} ¦ \frac{2}{3} \approx 0.67"),
        r"\frac{1}{3}",
        several(r"\frac{2}{3} \approx 1.67"),
    ),
    trial("names", "(1,2)", several("(1,2) ¦ x=1, y=2 ¦ y=2, x=1"), "(1,3)", several("y=1, x=2 ¦ (2,1)")),
    trial(
        "domain",
        "[1,3]",
        several(r"[1,3] ¦ 1 \le x \le 3"),
        "[1,4]",
        several(r"\{x \in \mathbb{Z} \mid 1 \le x \le 3\} ¦ \{1,3\}"),
    ),
    trial(
        "bounds abroad",
        "17",
        several("17 ¦ Die Antwort ist 17. ¦ 答えは17です。"),
        "18",
        several("nicht 17 ¦ Au moins 17. ¦ 17 이상 ¦ Не 17. ¦ 不超过17"),
    ),
    trial(
        "said of a number",
        "17",
        several("17 ¦ 17, not 18"),
        "18",
        several("twice 17 ¦ a multiple of 17 ¦ under 17 ¦ the 17th prime"),
    ),
)
