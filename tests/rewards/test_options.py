"""Options are strict, and the rewards that take them give the numbers of their papers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import RecipeError
from stages.rewards import cosine, length_penalty, overlong, repetition
from stages.rewards.registry import load, options_of, outside_sources
from stages.rewards.scoring import Counted, score
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import contract, row

RIGHT, WRONG = "<answer>17</answer>", "<answer>18</answer>"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cosine", {"max_lenght": 3}, "no option `max_lenght`"),
        ("format", {"strict": False}, "no option `strict`"),
        ("soft_overlong", {"tokens": 3}, "no option `tokens`"),
        ("cosine", {"max_length": "3"}, "`max_length` .* should be int, not '3'"),
        ("cosine", {"max_length": 3.5}, "should be int, not 3.5"),
        ("repetition", {"n": True}, "should be int, not True"),
        ("cosine", {"at_limit": [0.5]}, "should be tuple"),
        ("cosine", {"at_limit": "ab"}, "should be tuple"),
        ("cosine", {"at_limit": [0.2, 0.4]}, "refuses at_limit"),
        ("cosine", {"at_limit": [float("nan"), 0.4]}, "refuses at_limit"),
        ("cosine", {"max_length": 0}, "refuses max_length=0"),
        ("soft_overlong", {"max_length": 10}, "refuses max_length=10"),
        ("repetition", {"n": 0}, "refuses n=0"),
        ("length", {"limit": 0}, "refuses limit=0"),
        ("length_penalty", {"scale": 2}, "no option `scale`"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_judged(
    name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        load(name, options)
    assert caught.value.hint


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        load("cosine", {"max_lenght": 3})
    assert caught.value.hint == "did you mean `max_length`? it takes: max_length, at_limit"


def test_options_are_listed_with_their_defaults() -> None:
    assert options_of("soft_overlong") == {"max_length": 20480, "cache": 4096}
    assert options_of("accuracy") == {} == options_of("length_penalty")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lenght": {}}, "which `rewards` does not name"),
        ({"helpful": {"a": 1}}, "the judge `helpful` takes no options"),
        ({"length": {"limt": 1}}, "no option `limt`"),
    ],
)
def test_options_of_a_recipe_belong_to_its_rewards(options: dict[str, dict[str, Any]], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        outside_sources(["length", "helpful"], options)
    assert outside_sources(["length", "helpful"], {"length": {"limit": 5}}) == {}


# ---- soft overlong: DAPO eq. 13 with L_max = 20480 and L_cache = 4096, shifted by 1 ----


@pytest.mark.parametrize(
    ("tokens", "punished"), [(16384, 0.0), (17408, -0.25), (18432, -0.5), (20480, -1), (20481, -1)]
)
def test_soft_overlong_is_dapo_s_punishment_plus_one(tokens: int, punished: float) -> None:
    assert overlong.reward("x", row(), contract(), tokens=tokens).value == 1 + punished


def test_without_token_counts_characters_are_counted_and_said() -> None:
    verdict = overlong.reward("x" * 30, row(), contract(), max_length=40, cache=20)
    assert verdict.value == 0.5 and "30 characters, tokens not given" in verdict.reason


# ---- cosine ----


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 120), st.integers(0, 120))
def test_of_two_right_answers_the_shorter_earns_more_and_of_two_wrong_ones_less(one: int, other: int) -> None:
    short, long = sorted((one, other))
    right = [cosine.reward(RIGHT, row(), contract(), tokens=each, max_length=100).value or 0 for each in (short, long)]
    wrong = [cosine.reward(WRONG, row(), contract(), tokens=each, max_length=100).value or 0 for each in (short, long)]
    assert right[0] >= right[1]
    assert long >= 100 or wrong[0] <= wrong[1]
    assert short >= 100 or right[0] > wrong[0]
    assert long < 100 or right[1] == wrong[1] == 0.0


def test_cosine_is_the_paper_s_up_to_shift_and_scale() -> None:
    """The paper's right answers run from 2 to 1 and wrong ones from -10 to 0; at a quarter of the length the cosine is
    √2 / 2."""
    quarter = (1 + 2**-0.5) / 2
    options = {"tokens": 25, "max_length": 100, "at_limit": (11 / 12, 10 / 12)}
    for completion, start, end in ((RIGHT, 2, 1), (WRONG, -10, 0)):
        paper = end + (start - end) * quarter
        assert cosine.reward(completion, row(), contract(), **options).value == pytest.approx((paper + 10) / 12)


# ---- the length penalty, within a group ----


def test_length_is_compared_within_a_group_and_never_across_the_batch() -> None:
    """One group writes 10 to 30 tokens, the other 1000 to 3000: each is judged as if the other were not there."""
    texts = [Counted(RIGHT, count) for count in (10, 1000, 20, 2000, 30, 3000)]
    rows = [row(id="short"), row(id="long")] * 3
    found = [each["length_penalty"].value for each in score(texts, rows, contract(), {"length_penalty": 1.0})]
    assert found == [1.0, 1.0, 0.5, 0.5, 0.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([RIGHT, WRONG]), st.integers(1, 50)), min_size=1, max_size=6))
def test_a_wrong_answer_never_gains_by_its_length(answers: list[tuple[str, int]]) -> None:
    texts, counts = [text for text, _ in answers], [count for _, count in answers]
    for (text, _), verdict in zip(answers, length_penalty.group(texts, row(), contract(), tokens=counts), strict=True):
        assert verdict.value is not None and (text == RIGHT or verdict.value <= 0.5)


def test_a_completion_that_cannot_be_judged_is_no_measure_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = length_penalty.accuracy.reward
    monkeypatch.setattr(
        length_penalty.accuracy,
        "reward",
        lambda text, *rest: Verdict(None, "hung") if text == "hung" else judge(text, *rest),
    )
    found = length_penalty.group([RIGHT, "hung", RIGHT], row(), contract(), tokens=[10, 900, 20])
    assert [verdict.value for verdict in found] == [1.0, None, 0.0]


# ---- repetition ----


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abcdefgh先再"), min_size=1, max_size=20), st.integers(1, 4))
def test_saying_all_of_it_again_never_pays(words: list[str], n: int) -> None:
    once, twice = " ".join(words), " ".join(words * 2)
    values = [repetition.reward(text, row(), contract(), n=n).value or 0 for text in (once, twice)]
    assert values[1] <= values[0]
