"""The bundled claims can be decided by the bundled study: every node is there, three times where a claim needs it."""

from __future__ import annotations

import pytest

from stages.core.recipe.loading import claims_file, load_pipeline
from stages.study.claims import SEED, Claim, Control, load_book, node_names
from stages.study.verdict import ENOUGH

BOOK = load_book("claims")
STUDY = [node.name for node in load_pipeline("study")]
PIPELINE = [node.name for node in load_pipeline("pipeline")]

SOURCES = ("v1", "v2", "not measured", "Schulman 2020", "2510.01555")


def seeds_there(claim: Claim, side: Claim | Control, nodes: list[str]) -> int:
    """For how many seeds both nodes of a comparison exist (of a sweep, one); the pipeline's own is its seed 0."""
    sides = [names for names in map(node_names, (side.of, side.against)) if names]

    def compared(seed: str) -> bool:
        return all(any(name.replace(SEED, seed) in nodes for name in names) for names in sides)

    there = {seed or "-seed0" for seed in claim.seeds if compared(seed)}
    return len(there) if any(SEED in name for names in sides for name in names) else min(len(there), 1)


@pytest.mark.parametrize("claim", BOOK.claims.values(), ids=lambda claim: claim.id)
def test_the_study_has_three_seeds_for_every_claim_and_its_control(claim: Claim) -> None:
    assert seeds_there(claim, claim, STUDY) >= ENOUGH
    assert claim.control is None or seeds_there(claim, claim.control, STUDY) >= 1


def test_both_pipelines_name_the_claims_and_no_claim_names_a_node_nobody_builds() -> None:
    assert claims_file("study") == claims_file("pipeline") is not None
    for claim in BOOK.claims.values():
        sides = [claim.of, claim.against, *([claim.control.of, claim.control.against] if claim.control else [])]
        for name in (name for side in sides for name in node_names(side)):
            assert {name.replace(SEED, seed) for seed in claim.seeds} & set(STUDY), f"{claim.id}: {name}"
    rows = [node for row in BOOK.stages.values() for node in (row.scores, row.general) if node]
    assert set(rows) <= set(PIPELINE)


def test_the_pipeline_alone_speaks_to_most_claims() -> None:
    decided = [claim.id for claim in BOOK.claims.values() if seeds_there(claim, claim, PIPELINE)]
    assert len(decided) >= 20, decided


def test_every_claim_cites_the_paper_or_says_that_it_measured_nothing() -> None:
    silent = [claim.id for claim in BOOK.claims.values() if not any(mark in claim.paper for mark in SOURCES)]
    assert not silent
