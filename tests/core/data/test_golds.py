"""The gold is what a solution commits to; a word that says there is none is no gold."""

from __future__ import annotations

import pytest

from stages.core.data import golds
from stages.core.data.values import Unusable

_MISSING = """proof|Proof.|\\text{proof}|[PROOF]|The proof is omitted|notfound|not found|N/A|n/a|$\\text{N/A}$|NA|#N/A
None|nan|NaN|null|see solution|See the solution above.|Please refer to the full explanation below|unknown|Unknown.
-|—|?|??|...||no answer|No final answer provided|The answer is not given|I don't know|TBD|Q.E.D.|\\blacksquare|solution
证明略|略|見解析|無答案|証明|증명|доказательство|нет ответа|Beweis|siehe Lösung|voir solution|demostración
sin respuesta|chứng minh|प्रमाण
[asy] draw((0,0)--(1,1)); [/asy]|\\begin{tikzpicture} \\draw (0,0); \\end{tikzpicture}|![](https://cdn/x.png)|<image>
<img src="a.jpg"/>|https://x.y/z.png|https://x.y/z.JPG?w=3|<image_1>, <image_2>|\\includegraphics[width=3cm]{a}
Answers vary|Answers will vary.|Student responses may vary|answer: proof|**Answer:** N/A|ans: NaN|The answer is unknown.
Answer:|See Figure 3|see the graph|答案：略|the final answer is: see solution
无|無|如图|如图所示|见图|答案见解析|具体见解析|详见答案|见上|证明过程略|不适用|待定|暂无解析|해설 참고|証明は省略
[]|[ ]|{}|""|[""]|['']|[[]]|[{}]|[\\"\\"]|[null]|["N/A"]
#REF!|#VALUE!|#DIV/0!|[object Object]|no value|to be determined|not stated|None given
your answer|Answer placeholder|left to the reader"""
_REAL = """0|-1|x|e|i|A|(B)|Na|Ne|no|No|yes|true|no solution|No solutions|DNE|does not exist|undefined|\\emptyset|[0]
\\{\\}|\\infty|none of the above|nine|square|empty set|proof by induction on n|the unknown soldier|无解|Beweis 3|−3
n|N|π|\\%|1/2|nano|answer: 5|Answer: no solution|the answer is none of the above|5 [asy] draw((0,0)); [/asy]|x/y
1/2.5|https://example.org|varies directly|a figure|image|[a]|x.png|the answers are 2 and 3
没有|nil|value|empty|0.0|cannot be determined|如意|上|图|无穷大|5 见图|name|pending 3|three data"""
MISSING, REAL = ([gold for line in each.split("\n") for gold in line.split("|")] for each in (_MISSING, _REAL))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("48/2 = 24\n#### 72", ["72"]),
        ("48/2 = 24 #### 72\n\n", ["72"]),
        ("#### Step 1\nOne is 3.\n#### Step 2\nSo $\\boxed{15}$ coins.", ["15"]),
        ("## Solution\n\n#### Conclusion\n\nThe answer is 6.", ["6"]),
        ("#### Step 1\nOne pen costs 3.", []),
        ("Either $x = \\boxed{2}$ or $x = \\boxed{-2}$.", ["2", "-2"]),
        ("\\boxed{1}, \\boxed{2} and \\boxed{3}", ["1", "2", "3"]),
        ("first \\boxed{7}; checked again, it is \\boxed{7}", ["7"]),
        ("$\\boxed 7$ first. No: $\\boxed{21}$.", ["21"]),
        ("so $\\boxed 7$.", ["7"]),
        ("\\boxed{42", []),
        ("<answer>5</answer>", ["5"]),
        ("<think>\\boxed{4}?</think>\n<ANSWER> so \\boxed{5} </ANSWER>", ["5"]),
        ("<|begin_of_solution|>7<|end_of_solution|>", ["7"]),
        ("<solution>8</solution>", ["8"]),
        ("<answer></answer>", []),
        ("x </answer> <answer>", ["x </answer> <answer>"]),
        ("\\boxed{}", []),
        ("  72 ", ["72"]),
        ("   ", []),
    ],
)
def test_the_gold_is_where_the_solution_marks_it(answer: str, found: list[str]) -> None:
    assert golds.extract(answer) == found


def test_boxes_that_differ_and_are_not_joined_are_ambiguous() -> None:
    with pytest.raises(Unusable) as caught:
        golds.extract("In the first part we found \\boxed{3}. With that the whole is 5 times as much: \\boxed{15}.")
    assert caught.value.reason == "several answers" and "3 / 15" in caught.value.detail


@pytest.mark.parametrize(
    "gold",
    MISSING,
)
def test_a_word_for_no_answer_is_no_answer(gold: str) -> None:
    assert golds.is_missing(gold)


@pytest.mark.parametrize(
    "gold",
    REAL,
)
def test_an_answer_that_looks_a_little_like_it_stays(gold: str) -> None:
    assert not golds.is_missing(gold)


def test_a_recipe_can_say_that_such_a_word_is_an_answer() -> None:
    assert not golds.is_missing("None", ["none"]) and golds.is_missing("unknown", ["none"])
