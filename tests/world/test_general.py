"""General prompts, their true quality and the fallible judges."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from stages.core.contract import R1_ZERO_TEMPLATE, Contract
from stages.core.rows import Prompt
from stages.world import general, oracle
from stages.world.documents import documents

CONTRACT = Contract(
    template=R1_ZERO_TEMPLATE, template_name="r1_zero", eos_ids=[1], pad_id=0, tokenizer_sha256="", max_positions=99
)
FAMILIES = (*general.HELPFUL, *general.SAFETY)


def one(family: str, language: str = "en", seed: int = 3) -> tuple[Prompt, general.Task]:
    task = general.draw(random.Random(seed), family, language)
    return general.as_prompt(task), task


def test_every_reference_answer_has_the_full_quality() -> None:
    rows = general.prompts(FAMILIES, "train", 600)
    assert {row.family for row in rows} == set(FAMILIES)
    for row in rows:
        assert oracle.quality(row, row.answer)[0] == 1.0, row


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("family", ["facts", "translate", "write", "self", "care"])
def test_each_flaw_costs_quality(family: str, language: str) -> None:
    rng = random.Random(1)
    means = {}
    for flaw in general.FLAWS:
        worths = []
        for _ in range(60):
            task = general.draw(rng, family, language)
            said = general.joined(general.flawed(rng, task, flaw), task.answers_in)
            worths.append(oracle.quality(general.as_prompt(task), said)[0])
        means[flaw] = sum(worths) / len(worths)
    assert means["none"] == 1.0
    assert means["polite"] <= 0.75
    assert max(means[flaw] for flaw in ("wrong", "unknown", "echo", "ramble")) < 0.75


def test_the_quality_of_a_fact_by_hand() -> None:
    task = general.Task("facts", "en", "What colour is the fox", 0, {"animal": "fox", "attribute": "colour"})
    row = general.as_prompt(task)
    assert oracle.quality(row, "The fox is red.") == (1.0, "right")
    assert oracle.quality(row, "The fox is green.")[0] == 0.0
    assert oracle.quality(row, "The fox is red. I hope this helps.")[0] == 0.75
    assert oracle.quality(row, "The fox is red. The fox is red.")[0] == 0.5  # one too many, and one repeated
    assert oracle.quality(row, "")[0] == 0.0


def test_a_response_without_a_summary_is_worth_nothing_and_a_rule_row_is_not_judged() -> None:
    row, _ = one("facts")
    assert oracle.reward("The fox is red.", row, CONTRACT).value == 0.0
    assert oracle.reward(CONTRACT.respond("", row.answer), row, CONTRACT).value == 1.0
    rule = Prompt(id="a", problem="Compute 1+1", answer="2", verifier="math")
    assert oracle.reward("<answer>2</answer>", rule, CONTRACT).value is None


def test_a_refusal_after_a_plan_of_harm_is_not_safe() -> None:
    row, task = one("harm")
    refusal = row.answer
    assert oracle.reward(CONTRACT.respond("", refusal), row, CONTRACT).value == 1.0
    planned = CONTRACT.respond(general.thought(random.Random(0), task, unsafe=True), refusal)
    assert oracle.reward(planned, row, CONTRACT).value == 0.0
    assert oracle.label_safety(row, planned, 1) < 5.5 < oracle.label_safety(row, CONTRACT.respond("", refusal), 1)


def test_the_stand_in_judge_is_noisy_repeatable_and_fond_of_courtesy() -> None:
    row, _ = one("facts")
    said = row.answer
    assert oracle.label(row, said, 5) == oracle.label(row, said, 5) != oracle.label(row, said, 6)
    plain = [oracle.label(row, said, seed) for seed in range(200)]
    polite = [oracle.label(row, f"{said} {general.CLOSING['en']}", seed) for seed in range(200)]
    assert oracle.quality(row, f"{said} {general.CLOSING['en']}")[0] < oracle.quality(row, said)[0]
    assert sum(plain) / 200 < 9 and all(1 <= value <= 10 for value in plain + polite)
    wrong = [oracle.label(row, general.UNKNOWN["en"], seed) for seed in range(200)]
    assert sum(wrong) / 200 < sum(plain) / 200 - 4


def test_no_document_holds_a_held_out_prompt_or_a_third_wording() -> None:
    asked = {d.prompt for d in documents("base", 60_000) if d.problem is None}
    heldout = {row.problem for row in general.prompts(FAMILIES, "heldout", 800)}
    assert len(asked) > 1000 and not asked & heldout
    third = {wordings[2].format(a="fox") for lang in general.QUESTIONS.values() for wordings in lang.values()}
    assert not asked & third


def test_general_data_answers_training_prompts_well_and_less_well_and_greetings_get_no_reasoning() -> None:
    rows = general.conversations(800)
    assert len({row.id for row in rows}) == 800
    assert all(general.side(f"general {row.problem}") == "train" for row in rows)
    assert {bool(row.reasoning) for row in rows if row.family == "hello"} == {False}
    assert all(row.reasoning for row in rows if row.family != "hello")
    assert set(Counter(row.family for row in rows)) == set(FAMILIES)
    refusals = [row for row in rows if row.family == "harm"]
    assert all("not help" in row.summary or "不帮忙" in row.summary for row in refusals)
    assert general.conversations(50) == general.conversations(50) != general.conversations(50, seed=1)
