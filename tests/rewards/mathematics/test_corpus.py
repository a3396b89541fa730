"""The labelled pairs of other suites and of our own: what `accuracy` may get wrong, and what their rows hold."""

from __future__ import annotations

import json
from functools import cache

from stages.rewards.verdict import Verdict
from tests.bench.corpus import measure, ours, theirs
from tests.rewards.corpus import FOLDER, Pair, read

MATH_VERIFY_ERROR = 0.1533  # of math-verify 0.9.0 on these rows: python -m tests.bench.corpus
KNOWN = {tuple(row) for row in json.loads((FOLDER / "known.json").read_text(encoding="utf-8"))}


@cache
def judged() -> tuple[tuple[Pair, Verdict], ...]:
    return tuple((pair, ours(pair)) for pair in read())


def test_at_most_two_wrong_answers_in_a_thousand_pass() -> None:
    rates = measure(judged())["all"]
    wrong_answers = sum(not pair.right for pair, _ in judged())
    assert rates.false_positives <= 0.002 * wrong_answers


def test_the_error_rate_is_at_most_half_of_math_verifys() -> None:
    rates = measure(judged())["all"]
    assert rates.errors / rates.rows <= MATH_VERIFY_ERROR / 2


def test_no_row_is_judged_wrongly_but_those_listed_as_known() -> None:
    wrong = {(pair.gold, pair.text) for pair, verdict in judged() if verdict.value != float(pair.right)}
    assert wrong <= KNOWN


def test_a_row_says_where_it_comes_from_and_why_it_is_disputed() -> None:
    named = (FOLDER / "README.md").read_text(encoding="utf-8")
    for pair in read(disputed=True):
        assert bool(pair.answer) + bool(pair.completion) <= 1, pair
        assert pair.gold.strip() and pair.repository in named, pair
        assert pair.why or not pair.disputed, pair


def test_no_two_rows_contradict_each_other() -> None:
    labels: dict[tuple[str, str], bool] = {}
    for pair in read():
        assert labels.setdefault((pair.gold, pair.text), pair.right) == pair.right, pair


def test_the_corpus_is_large_and_holds_right_and_wrong_rows_of_other_tools() -> None:
    pairs = read()
    others = [pair for pair in pairs if pair.repository not in ("ours", "MATH (hendrycks/math, MIT)")]
    assert len(pairs) >= 3000 and len(others) >= 800
    assert 0.35 <= sum(pair.right for pair in pairs) / len(pairs) <= 0.75


def test_math_verify_is_given_what_it_reads() -> None:
    assert theirs(Pair("\\frac{1}{2}", right=True, source="ours", answer="0.5")).value == 1.0
    assert theirs(Pair("\\$5", right=True, source="ours", answer="$5")).value == 1.0
    assert theirs(Pair("3", right=False, source="ours", completion="So \\boxed{4}.")).value == 0.0
