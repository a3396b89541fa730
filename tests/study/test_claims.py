"""Claims in YAML: what is read, and that every mistake is named with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core.errors import MissingError, RecipeError
from stages.study.claims import Control, load_book, node_names

GOOD = """seeds: ["", -seed1]
claims:
  zero-lifts:
    text: RL lifts pass@1
    paper: "15.6 → 77.9 (v2 §2.2)"
    of: zero{seed}-scores
    against: base-scores
    control: {of: shuffled-scores, against: base-scores}
    asserts: [no-stage sft]
  language:
    text: one language
    paper: not measured
    metric: language
    of: ["r1{seed}-scores", r2-scores]
    against: 0.98
    no_control: a bound, not an effect
    seeds: [-a]
stages:
  Base: {scores: base-scores, paper: {AIME 2024: 15.6}}
  R1: {scores: r1-scores, general: r1-general}
"""


def written(folder: Path, text: str = GOOD) -> Path:
    path = folder / "claims.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_claims_are_read_with_their_names_and_the_files_seeds(tmp_path: Path) -> None:
    first, second = load_book(written(tmp_path)).claims.values()
    assert (first.id, first.metric, first.direction, first.sampling) == (
        "zero-lifts",
        "strict_pass@1",
        "rises",
        "T1-p1",
    )
    assert first.seeds == ["", "-seed1"] and second.seeds == ["-a"]
    assert first.control == Control(of="shuffled-scores", against="base-scores")
    assert second.of == ["r1{seed}-scores", "r2-scores"] and second.against == 0.98


def test_the_table_of_stages_is_read_in_order(tmp_path: Path) -> None:
    base, r1 = load_book(written(tmp_path)).stages.values()
    assert (base.name, base.scores, base.general, base.paper) == ("Base", "base-scores", "", {"AIME 2024": 15.6})
    assert (r1.name, r1.general) == ("R1", "r1-general")


def test_the_nodes_of_a_side_are_its_names() -> None:
    assert node_names("zero") == ["zero"] and node_names(["a", "b"]) == ["a", "b"]
    assert node_names(0.98) == node_names(None) == []


WRONG = {
    "an unknown key": ("    against: base-scores\n", "    agianst: base-scores\n", r":7: unknown key `.*agianst`"),
    "an unknown direction": (
        "    paper: not",
        "    direction: up\n    paper: not",
        r":12: .*direction.* one of `rises`",
    ),
    "neither control nor reason": ("    no_control: a bound, not an effect\n", "", r"a claim has either a `control`"),
    "both": ("    asserts", "    no_control: why\n    asserts", r"a claim has either a `control`"),
    "nothing to compare with": ("    against: 0.98\n", "", r"`against` is missing"),
    "a curve against a node": ("    metric: language\n", "    curve: reflective\n", r"its own beginning"),
    "an assertion nobody knows": ("[no-stage sft]", "[no-sft]", r":9: `asserts` cannot read `no-sft`"),
    "a margin without equality": ("    metric: language\n", "    within: 0.1\n", r":13: `within` goes with"),
    "a negative least": ("    metric: language\n", "    least: -1\n", r":13: `least` is 0 or more"),
    "no text": ("    text: one language\n", "", r"needs `.*text`"),
    "problems of several nodes": (
        "    metric: language\n",
        "    problems: solved\n",
        r":13: `problems` asks what one node solves",
    ),
    "a name of its own": ("    metric: language\n", "    id: other\n", r"`language` is named twice"),
    "the same seed twice": ('["", -seed1]', '["", ""]', r":1: `seeds` should be a list of different texts"),
    "an unknown key of the file": ("stages:\n", "stage:\n", r":18: unknown key `stage`"),
    "an unknown key of a row": ("{scores: base-scores,", "{score: base-scores,", r":19: unknown key `.*score`"),
    "a number as a node": ("    of: zero{seed}-scores\n", "    of: {a: b}\n", r":6: .*of.* should be"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_claim_that_cannot_be_read_is_named_with_file_and_line(case: str, tmp_path: Path) -> None:
    old, new, said = WRONG[case]
    assert GOOD.count(old) == 1
    with pytest.raises(RecipeError, match=said) as raised:
        load_book(written(tmp_path, GOOD.replace(old, new)))
    assert "claims.yaml" in str(raised.value) and raised.value.hint


def test_a_file_without_claims_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="needs `claims`"):
        load_book(written(tmp_path, "seeds: ['']\n"))
    with pytest.raises(RecipeError, match="`claims` is empty"):
        load_book(written(tmp_path, "claims: {}\n"))
    with pytest.raises(MissingError):
        load_book(tmp_path / "none.yaml")
