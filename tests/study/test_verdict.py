"""The rules of a verdict, each on figures one can count by hand."""

from __future__ import annotations

from typing import Any

import pytest

from stages.core.artifact import Artifact
from stages.core.storage.store import Store
from stages.study.claims import Claim, Control
from stages.study.figures import Shelf
from stages.study.verdict import Finding, decide_all
from tests.study.shelves import evaluation, row, seal

SEEDS = ["", "-seed1", "-seed2"]
NONE, HALF, ALL = [0] * 12, [1] * 12, [2] * 12  # right samples of two, problem by problem


@pytest.fixture
def store(r1_home: Any) -> Store:
    return Store(r1_home)


def claim(**changes: Any) -> Claim:
    given: dict[str, Any] = {"text": "RL lifts pass@1", "paper": "15.6 → 77.9", "seeds": SEEDS, "of": "rl{seed}"}
    given |= {"against": "base", "no_control": "nothing is trained"}
    return Claim(**(given | changes))


def decided(store: Store, asked: Claim, **right: list[int]) -> Finding:
    """Evaluate nodes (`rl_seed1` is the node rl-seed1) with so many right samples a problem, and decide."""
    built: dict[str, Artifact] = {}
    for name, counts in right.items():
        node = name.replace("_", "-")
        built[node] = evaluation(store, node, counts)
    return decide_all([asked], Shelf(built, store))[0]


def test_three_seeds_that_rise_and_an_interval_off_0_hold(store: Store) -> None:
    found = decided(store, claim(), base=NONE, rl=ALL, rl_seed1=HALF, rl_seed2=ALL)
    assert (found.verdict, found.seeds, found.as_claimed) == ("holds", 3, True)
    assert found.effect is not None
    assert found.effect.by_seed == (1.0, 0.5, 1.0)
    assert found.effect.value == pytest.approx(5 / 6)
    assert found.effect.low == 0.5
    assert found.reason == "nothing is trained"


def test_one_seed_alone_cannot_tell_but_says_its_direction(store: Store) -> None:
    found = decided(store, claim(), base=NONE, rl=ALL)
    assert (found.verdict, found.reason, found.as_claimed) == ("cannot tell", "one seed", True)
    fallen = decided(store, claim(direction="falls"), base=NONE, rl=ALL)
    assert (fallen.verdict, fallen.as_claimed) == ("cannot tell", False)
    two = decided(store, claim(), base=NONE, rl=ALL, rl_seed1=ALL)
    assert (two.verdict, two.reason) == ("cannot tell", "2 seeds")


def test_three_seeds_that_disagree_cannot_tell(store: Store) -> None:
    found = decided(store, claim(), base=HALF, rl=ALL, rl_seed1=ALL, rl_seed2=NONE)
    assert (found.verdict, found.reason) == ("cannot tell", "the seeds disagree")


def test_three_seeds_the_other_way_do_not_hold(store: Store) -> None:
    found = decided(store, claim(), base=ALL, rl=HALF, rl_seed1=NONE, rl_seed2=HALF)
    assert (found.verdict, found.reason) == ("does not hold", "the difference goes the other way")


def test_an_interval_that_holds_0_cannot_tell(store: Store) -> None:
    # One problem in twelve improves in each seed: many draws of problems miss it.
    better = [1, *NONE[1:]]
    found = decided(store, claim(), base=NONE, rl=better, rl_seed1=better, rl_seed2=better)
    assert (found.verdict, found.reason) == ("cannot tell", "the interval holds 0")


def test_a_difference_below_the_least_that_counts_does_not_hold(store: Store) -> None:
    found = decided(store, claim(least=0.6), base=NONE, rl=HALF, rl_seed1=HALF, rl_seed2=HALF)
    assert (found.verdict, found.reason) == ("does not hold", "the difference is too small")


def test_a_claim_without_its_nodes_is_not_run(store: Store) -> None:
    found = decided(store, claim(), rl=ALL)
    assert (found.verdict, found.reason, found.effect) == ("not run", "base not built", None)


def test_a_seed_without_its_other_side_is_left_out(store: Store) -> None:
    asked = claim(against="base{seed}")
    found = decided(store, asked, base=NONE, rl=ALL, rl_seed1=ALL, rl_seed2=ALL)
    assert found.seeds == 1


def test_seeds_that_name_the_same_artifacts_count_once(store: Store) -> None:
    found = decided(store, claim(of="rl"), base=NONE, rl=ALL)
    assert (found.verdict, found.seeds) == ("cannot tell", 1)


CONTROLLED = {"no_control": "", "control": Control(of="shuffled", against="base")}
RISEN: dict[str, list[int]] = {"rl": ALL, "rl_seed1": ALL, "rl_seed2": ALL}


@pytest.mark.parametrize(
    ("shuffled", "turn", "verdict"),
    [
        (NONE, "turned", "holds"),  # without the cause nothing rises
        ([1, *NONE[1:]], "turned", "holds"),  # a little rises, too little to show
        ([1] * 5 + [0] * 7, "turned", "holds"),  # 0.21 of 1.0 rises, and shows: less than half
        (ALL, "stays", "does not hold"),  # as much rises without the cause
        (HALF, "stays", "does not hold"),  # half of it is too much
    ],
)
def test_the_control_decides(store: Store, shuffled: list[int], turn: str, verdict: str) -> None:
    found = decided(store, claim(**CONTROLLED), base=NONE, shuffled=shuffled, **RISEN)
    assert (found.turn, found.verdict) == (turn, verdict)
    assert found.addresses is not None and found.addresses["control of"] == ["shuffled@1"]


def test_a_control_too_noisy_to_differ_is_undecided(store: Store) -> None:
    # The effect is 1 in 12 problems... of all three seeds; the control's is 0, but its problems hardly differ.
    little = [2, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    control = [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    risen = {"rl": little, "rl_seed1": little, "rl_seed2": little}
    found = decided(store, claim(**CONTROLLED), base=NONE, shuffled=control, **risen)
    assert (found.turn, found.verdict) == ("undecided", "cannot tell")


def test_a_control_that_was_not_run_decides_nothing(store: Store) -> None:
    found = decided(store, claim(**CONTROLLED), base=NONE, **RISEN)
    assert (found.turn, found.verdict, found.reason) == ("not run", "cannot tell", "the control was not run")


def test_a_control_that_falls_has_turned(store: Store) -> None:
    found = decided(store, claim(**CONTROLLED), base=HALF, shuffled=NONE, **RISEN)
    assert (found.turn, found.verdict) == ("turned", "holds")


def test_equal_holds_within_its_margin_and_not_beyond(store: Store) -> None:
    same = {"rl": HALF, "rl_seed1": HALF, "rl_seed2": HALF}
    equal = claim(direction="equal", within=0.1)
    assert decided(store, equal, base=HALF, **same).verdict == "holds"
    apart = decided(store, equal, base=NONE, **same)
    assert (apart.verdict, apart.reason, apart.as_claimed) == ("does not hold", "the difference is larger", False)
    one_off = [2, *HALF[1:]]
    wide = decided(store, equal, base=HALF, rl=one_off, rl_seed1=one_off, rl_seed2=one_off)
    assert (wide.verdict, wide.reason) == ("cannot tell", "the interval leaves the band of 0.1")


def test_keeping_up_holds_above_the_band_and_not_below_it(store: Store) -> None:
    asked = claim(direction="keeps", within=0.1)
    assert decided(store, asked, base=HALF, rl=ALL, rl_seed1=ALL, rl_seed2=HALF).verdict == "holds"
    below = decided(store, asked, base=ALL, rl=HALF, rl_seed1=HALF, rl_seed2=HALF)
    assert (below.verdict, below.as_claimed) == ("does not hold", False)
    one_off = [0, *HALF[1:]]
    unclear = decided(store, asked, base=HALF, rl=one_off, rl_seed1=one_off, rl_seed2=one_off)
    assert (unclear.verdict, unclear.as_claimed) == ("cannot tell", True)


def test_a_control_of_equality_turns_by_differing(store: Store) -> None:
    same = {"rl": HALF, "rl_seed1": HALF, "rl_seed2": HALF}
    equal = claim(direction="equal", within=0.1, **CONTROLLED)
    assert decided(store, equal, base=HALF, shuffled=ALL, **same).verdict == "holds"
    stays = decided(store, equal, base=HALF, shuffled=HALF, **same)
    assert (stays.turn, stays.verdict) == ("stays", "does not hold")


def test_a_number_can_be_the_other_side(store: Store) -> None:
    found = decided(store, claim(against=0.9), **RISEN)
    assert found.verdict == "holds"
    assert found.effect is not None and found.effect.value == pytest.approx(0.1)


def test_only_the_asked_family_and_metric_count(store: Store) -> None:
    right = [2, 0] * 6  # even problems right, odd ones wrong
    risen = {"rl": right, "rl_seed1": right, "rl_seed2": right}
    assert decided(store, claim(family="even"), base=NONE, **risen).verdict == "holds"
    odd = decided(store, claim(family="odd"), base=NONE, **risen)
    assert odd.effect is not None and odd.effect.value == 0.0
    missing = decided(store, claim(family="cups"), base=NONE, **risen)
    assert (missing.verdict, missing.reason) == ("cannot tell", "rl@3 has no problem of the family `cups`")
    other = decided(store, claim(metric="pass@1", against_metric="cons@2"), base=ALL, rl=ALL)
    assert other.effect is not None and other.effect.value == 0.0
    unknown = decided(store, claim(metric="strict_pas@1"), base=NONE, rl=ALL)
    assert (unknown.verdict, unknown.reason) == ("cannot tell", "rl@5 has no figure `strict_pas@1`")
    unsampled = decided(store, claim(sampling="T0.6-p0.95"), base=NONE, rl=ALL)
    assert unsampled.reason == "rl@6 was not sampled at T0.6-p0.95"


def test_the_gain_can_be_split_by_what_the_other_side_solves(store: Store) -> None:
    base = [1, *NONE[1:]]  # solves the first problem in one of two samples
    solved = decided(store, claim(problems="solved"), base=base, rl=ALL)
    assert solved.effect is not None and (solved.effect.value, solved.effect.problems) == (0.5, 1)
    unsolved = decided(store, claim(problems="unsolved"), base=base, rl=ALL)
    assert unsolved.effect is not None and (unsolved.effect.value, unsolved.effect.problems) == (1.0, 11)


def test_the_best_of_several_is_the_best_at_the_first_seed_and_needs_all_of_them(store: Store) -> None:
    asked = claim(of="rl", against=["slow{seed}", "fast{seed}"], direction="rises")
    found = decided(store, asked, rl=ALL, slow=NONE, slow_seed1=ALL, fast=HALF, fast_seed1=NONE)
    assert found.addresses is not None and found.addresses["against"] == ["fast@1", "fast-seed1@1"]
    assert list(found.facts) == ["the best of 2: fast"]
    assert decided(store, asked, rl=ALL, slow=NONE).verdict == "not run"


def test_a_figure_of_the_record_needs_no_problems(store: Store) -> None:
    built: dict[str, Artifact] = {"base": seal(store, "base", metrics={"flops": {"sampling": 1.0, "update": 2.0}})}
    for node in ("rl", "rl-seed1", "rl-seed2"):
        built[node] = seal(store, node, metrics={"flops": {"update": 9.0}, "largest_weight_change": 0.5})
    found = decide_all([claim(metric="flops.sampling+flops.update")], Shelf(built, store))[0]
    assert found.verdict == "holds"
    assert found.effect is not None and (found.effect.after, found.effect.before) == (9.0, 3.0)
    none = decide_all([claim(metric="flops.teacher")], Shelf(built, store))[0]
    assert none.verdict == "cannot tell"


def test_a_general_figure_is_compared_where_it_applies(store: Store) -> None:
    rows = [row("g", None, rewards={"helpful": 0.75}), row("r", True)]
    built: dict[str, Artifact] = {"rl": seal(store, "rl", "scores", "eval", rows=rows)}
    found = decide_all([claim(metric="helpful", against=0.5)], Shelf(built, store))[0]
    assert found.effect is not None and found.effect.value == pytest.approx(0.25)


def test_a_curve_is_compared_with_its_own_beginning_and_tells_its_first_spike(store: Store) -> None:
    steps = [value for rollout in [1.0, 1.1] * 10 + [5.0, 5.1] * 5 for value in (rollout, rollout)]  # two steps each
    built: dict[str, Artifact] = {node: seal(store, node, curve=steps) for node in ("rl", "rl-seed1", "rl-seed2")}
    found = decide_all([claim(against=None, curve="reflective")], Shelf(built, store))[0]
    assert found.verdict == "holds"
    assert found.effect is not None
    assert found.effect.before == pytest.approx((1.0 + 1.1 + 1.0) / 3)  # a tenth of 30 rollouts
    assert found.effect.after == pytest.approx((5.1 + 5.0 + 5.1) / 3)
    assert list(found.facts) == ["first spike: step 41, step 41, step 41"]
    silent = decide_all([claim(against=None, curve="aha")], Shelf(built, store))[0]
    assert silent.reason == "rl@1 tells no `aha` of its steps"


def test_a_stage_among_the_ancestors_breaks_the_assertion(store: Store) -> None:
    seal(store, "base")
    seal(store, "cold", stage="sft", inputs={"model": "base@1"})
    seal(store, "zero", inputs={"model": "base@1"})
    seal(store, "later", inputs={"model": "cold@1"})
    built: dict[str, Artifact] = {"base": evaluation(store, "base-scores", NONE, model="base@1")}
    built["rl"] = evaluation(store, "zero-scores", ALL, model="zero@1")
    asked = claim(asserts=["no-stage sft"])
    assert decide_all([asked], Shelf(built, store))[0].verdict == "cannot tell"
    built["rl"] = evaluation(store, "later-scores", ALL, model="later@1")
    found = decide_all([asked], Shelf(built, store))[0]
    assert (found.verdict, found.reason) == ("does not hold", "later-scores@1 descends from cold@1, of the stage sft")


def test_more_compute_than_the_other_side_breaks_the_assertion(store: Store) -> None:
    for name, update in (("student", 104.0), ("spender", 120.0), ("rl-model", 60.0)):
        seal(store, name, metrics={"flops": {"update": update, "sampling": 40.0 * (name == "rl-model")}})
    built: dict[str, Artifact] = {"base": evaluation(store, "rl-scores", NONE, model="rl-model@1")}
    built["rl"] = evaluation(store, "student-scores", ALL, model="student@1")
    asked = claim(asserts=["no-more flops.sampling + flops.update"])
    assert decide_all([asked], Shelf(built, store))[0].reason == "one seed"
    built["rl"] = evaluation(store, "spender-scores", ALL, model="spender@1")
    found = decide_all([asked], Shelf(built, store))[0]
    assert (found.verdict, found.reason[:40]) == ("does not hold", "`flops.sampling + flops.update` is 120, ")


def test_a_finding_is_plain_values(store: Store) -> None:
    import json

    found = decided(store, claim(**CONTROLLED), base=NONE, shuffled=NONE, **RISEN).as_dict()
    assert json.loads(json.dumps(found)) == found | {
        "effect": {**found["effect"], "by_seed": [1.0, 1.0, 1.0]},
        "control": {**found["control"], "by_seed": [0.0]},
    }
