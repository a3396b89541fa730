"""Rows for people: percent and points, arrows, what is missing; and the table of stages."""

from __future__ import annotations

from typing import Any

import pytest

from stages.core.artifact import Artifact
from stages.core.storage.store import Store
from stages.study import tables
from stages.study.claims import Book, Claim, Control, StageRow
from stages.study.figures import Shelf
from stages.study.verdict import decide_all
from tests.study.shelves import evaluation, row, seal


@pytest.fixture
def store(r1_home: Any) -> Store:
    return Store(r1_home)


def claim(**changes: Any) -> Claim:
    given: dict[str, Any] = {"text": "it rises", "paper": "1 → 2", "of": "rl", "against": "base", "no_control": "why"}
    return Claim(**(given | changes))


def rows_of(store: Store, *claims: Claim, **nodes: Artifact) -> list[dict[str, str]]:
    return tables.claim_rows(decide_all(claims, Shelf(nodes, store)))


def test_shares_are_told_in_percent_and_their_differences_in_points(store: Store) -> None:
    base, rl = evaluation(store, "base", [1] * 10), evaluation(store, "rl", [2] * 10)
    (shown,) = rows_of(store, claim(), base=base, rl=rl)
    assert shown["ours"] == "50.0 → 100.0 %, +50.0 [+50.0, +50.0]"
    assert shown["verdict"] == "cannot tell ↑ as claimed"
    assert shown["control"] == "none"
    assert shown["why"] == "one seed"


def test_a_direction_against_the_claim_is_told(store: Store) -> None:
    base, rl = evaluation(store, "base", [2] * 10), evaluation(store, "rl", [1] * 10)
    up, equal = rows_of(store, claim(), claim(direction="equal", within=0.01), base=base, rl=rl)
    assert up["ours"] == "100.0 → 50.0 %, −50.0 [−50.0, −50.0]"
    assert up["verdict"] == "cannot tell ↓ against it"
    assert equal["verdict"] == "cannot tell"
    (same,) = rows_of(store, claim(against="rl"), rl=rl)
    assert same["verdict"] == "cannot tell = against it"


def test_lengths_and_figures_of_records_keep_their_unit(store: Store) -> None:
    base, rl = evaluation(store, "base", [1] * 4, tokens=20), evaluation(store, "rl", [1] * 4, tokens=45)
    (length,) = rows_of(store, claim(metric="length"), base=base, rl=rl)
    assert length["ours"] == "20 → 45, +25 [+25, +25]"
    one, other = seal(store, "m", metrics={"kl": 0.5}), seal(store, "n", metrics={"kl": 0.0002})
    (kl,) = rows_of(store, claim(metric="kl", direction="falls"), base=one, rl=other)
    assert kl["ours"] == "0.500 → 0.0002, −0.500"
    assert kl["verdict"] == "cannot tell ↓ as claimed"


def test_a_control_is_told_with_what_it_did(store: Store) -> None:
    base, rl = evaluation(store, "base", [0] * 10), evaluation(store, "rl", [2] * 10)
    asked = claim(no_control="", control=Control(of="flat", against="base"))
    flat = evaluation(store, "flat", [0] * 10)
    (with_it,) = rows_of(store, asked, base=base, rl=rl, flat=flat)
    assert with_it["control"] == "+0.0 [+0.0, +0.0], turned"
    (without,) = rows_of(store, asked, base=base, rl=rl)
    assert without["control"] == "not run"
    (nothing,) = rows_of(store, asked)
    assert (nothing["ours"], nothing["verdict"], nothing["why"]) == ("–", "not run", "rl, base not built")


def test_findings_are_counted_by_verdict(store: Store) -> None:
    rl = evaluation(store, "rl", [2] * 4)
    found = decide_all([claim(), claim(against=0.5), claim(of="none", against=0.5)], Shelf({"rl": rl}, store))
    assert tables.tally(found) == "1 cannot tell, 2 not run"


def test_the_table_of_stages_has_every_figure_there_is(store: Store) -> None:
    general = [row(f"g{n}", None, rewards={"oracle": 0.5}, family="facts") for n in range(3)]
    built: dict[str, Artifact] = {
        "zero-scores": evaluation(store, "zero-scores", [2, 0, 2, 0], language=0.75, readable=False),
        "zero-general": seal(store, "zero-general", "scores", "eval", rows=general),
    }
    book = Book(
        claims={"a": claim()},
        stages={
            "Zero": StageRow(name="Zero", scores="zero-scores", general="zero-general", paper={"AIME": 77.9}),
            "R1": StageRow(name="R1", scores="r1-scores", general="r1-general"),
        },
        general_metric="oracle",
    )
    zero, r1 = tables.stage_rows(book, Shelf(built, store))
    values = {name: figure and figure["value"] for name, figure in zero["figures"].items()}
    assert values == {
        "strict": 0.5,
        "even": 1.0,
        "odd": 0.0,
        "any": 0.5,
        "length": 10.0,
        "language": 0.75,
        "readable": 0.0,
        "general": 0.5,
    }
    assert (zero["paper"], r1["figures"], r1["paper"]) == ({"AIME": 77.9}, {}, {})


def test_every_node_of_a_pipeline_has_a_row_with_its_main_figures(store: Store) -> None:
    built: dict[str, Artifact] = {
        "zero": seal(store, "zero", metrics={"steps": 240, "reward": 1.75, "flops": {"update": 1e12}, "note": "x"}),
        "scores": seal(store, "s", "scores", "eval", metrics={"T1-p1": {"strict_pass@1": 0.5, "cons@8": None}}),
    }
    first, second = tables.node_rows(built)
    assert (first["node"], first["address"], first["stage"], first["seconds"]) == ("zero", "zero@1", "rl", 12.0)
    assert first["figures"] == "steps 240, reward 1.750"
    assert second["figures"] == "strict_pass@1 0.500"
