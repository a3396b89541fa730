"""The page: numbers from sealed artifacts, hostile text made harmless, and what is absent said so."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stages.core.artifact import Artifact
from stages.core.errors import MissingError
from stages.core.storage.packing import pack, unpack
from stages.core.storage.store import Store
from stages.report import gather, page, write_report
from stages.report.samples import LONGEST, card, pairs
from stages.report.visible import visible
from tests.report.history import seal, store_with_history


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_with_history(tmp_path_factory.mktemp("history") / "home")


@pytest.fixture(scope="module")
def html(store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = write_report([store.open("zero")], tmp_path_factory.mktemp("page") / "report.html", store)
    return out.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Collects the elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "path", "rect", "circle", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", html.split("</style>")[1]))


def test_the_page_is_well_formed_and_loads_and_runs_nothing(html: str) -> None:
    tags = Tags(html)
    assert not tags.open
    names = {name for name, _ in tags.found}
    assert not names & {"script", "link", "iframe", "img", "object", "embed", "form", "base"}
    for _, attributes in tags.found:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action")]
        assert attributes.get("href", "#").startswith("#")
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html


def test_hostile_text_is_shown_and_not_obeyed(html: str) -> None:
    assert "&lt;script&gt;alert" in html
    assert "\x00" not in html and "\u202e" not in html
    assert "␀⟨U+202E⟩gnp.exe" in html


def test_the_headline_states_both_figures_the_gain_and_its_interval(store: Store, html: str) -> None:
    chapter = gather.chapters([store.open("zero")], store)[0]
    said = page.headline(chapter)
    part = chapter.evaluations[0].comparisons[0]
    assert part.title == "T = 1, top-p = 1"
    assert f"{100 * part.after['overall']['strict_pass@1']['value']:.1f} %" in said
    assert re.fullmatch(
        r"Strict pass@1 rises from .* to .* on 9 heldout .*: \+[\d.]+ points \[\+.*\], paired\. .*", said
    )
    assert said in text_of(html)


def test_scores_of_the_model_and_its_parent_are_found_through_their_inputs(store: Store) -> None:
    chapter = gather.chapters([store.open("zero")], store)[0]
    found = [(one.label, one.before.address if one.before else None, one.after.address) for one in chapter.evaluations]
    assert found == [
        ("heldout", "base-heldout@1", "zero-heldout@1"),
        ("harder", "base-harder@1", "zero-harder@1"),
    ]
    assert [part.title[:5] for part in chapter.evaluations[0].comparisons] == ["T = 1", "T = 0"]
    assert not chapter.absent


def test_scores_lead_to_the_model_they_evaluate(store: Store) -> None:
    assert [one.subject.address for one in gather.chapters([store.open("zero-heldout")], store)] == ["zero@1"]
    both = gather.chapters([store.open("zero"), store.open("zero-heldout")], store)
    assert len(both) == 1


def test_the_curves_show_the_base_as_a_flat_line_and_each_reference_replacement(store: Store) -> None:
    charts = {one.title: one for one in gather.chapters([store.open("zero")], store)[0].charts}
    first = charts["Pass@1 on validation problems"]
    assert [one.label for one in first.series] == ["strict pass@1", "any-format pass@1", "base, strict"]
    assert first.series[2].flat and first.series[2].points[0] == first.series[0].points[0]
    assert list(first.marks) == [21.0, 41.0]
    assert [one.label for one in charts["Reward by part"].series] == ["sum", "accuracy", "format"]
    assert all(one.series for one in charts.values())


def test_the_first_wrong_step_is_marked_where_it_stands() -> None:
    row = {
        "completion": "3+4=7. 7+1=9.", "wrong_step": [7, 12], "strict": 0.0, "correct": 1.0, "reason": "no <think>",
        "tokens": 9, "truncated": False, "mixed": False,
    }  # fmt: skip
    shown = card(row)
    assert [(piece.text, piece.wrong) for piece in shown.pieces] == [("3+4=7. ", False), ("7+1=9", True), (".", False)]
    assert shown.verdict == "loose"
    long = card(row | {"completion": "x" * 10_000, "wrong_step": None, "strict": 1.0})
    assert (long.verdict, long.hidden) == ("right", 10_000 - LONGEST)


def test_samples_are_the_first_of_each_family_and_a_failure_if_there_is_one() -> None:
    plain = {"sample": 0, "completion": "", "wrong_step": None, "correct": 1.0, "reason": "", "tokens": 1}
    plain |= {"truncated": False, "mixed": False}
    after = [plain | {"id": f"s{n}", "family": "sum", "strict": float(n != 5)} for n in range(8)]
    after += [plain | {"id": "c0", "family": "cups", "strict": 1.0}]
    before = [one for one in after if one["id"] != "s5"]
    found = pairs(after, before, {"s0": {"problem": "1+1", "answer": "2"}})
    assert [(one.problem, one.family) for one in found] == [
        ("c0", "cups"),
        ("1+1", "sum"),
        ("s1", "sum"),
        ("s5", "sum"),
    ]
    assert found[3].before is None


def test_the_lineage_names_every_artifact_with_stage_fingerprint_and_time(store: Store, html: str) -> None:
    for artifact in store.all():
        assert artifact.address in html
        assert artifact.fingerprint[:12] in html
    assert "3 min 7 s" in html
    assert "cpu (2 threads), 2 cores" in html


def test_the_recipe_and_the_commands_are_there(html: str) -> None:
    assert "learning_rate: 0.0003" in html
    assert "recipes/r1_zero.yaml:9" in html
    assert "r1 rl --name zero inputs.model=base@1" in text_of(html)


def test_a_model_nobody_evaluated_says_what_to_type(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    seal(store, "base", "model", "import", {}, source="world:base")
    seal(store, "zero", "model", "rl", {"model": "base@1"})
    said = text_of(write_report([store.open("zero")], tmp_path, store).read_text(encoding="utf-8"))
    assert (tmp_path / "report.html").is_file()
    assert "zero@1 was never evaluated: `r1 eval inputs.model=zero@1 inputs.prompts=world:heldout` does it." in said
    assert "zero@1 keeps no training events" in said
    assert "keeps no recipe.yaml" in said


def test_a_missing_parent_evaluation_and_a_missing_ancestor_are_said(tmp_path: Path) -> None:
    whole = store_with_history(tmp_path / "whole", problems=3, samples=1, steps=2)
    whole.remove("base-harder@1")
    chapter = gather.chapters([whole.open("zero")], whole)[0]
    assert any("r1 eval inputs.model=base@1 inputs.prompts=world-harder@1" in one for one in chapter.absent)
    alone = Store(tmp_path / "alone")
    pack(whole, "zero-heldout@1", tmp_path / "scores.tar")
    unpack(alone, tmp_path / "scores.tar")
    page_text = text_of(write_report(alone.all(), tmp_path / "alone.html", alone).read_text(encoding="utf-8"))
    assert "zero@1 is not in the store." in page_text
    assert re.search(r"Strict pass@1 is [\d.]+ %", page_text)


def test_any_artifact_has_a_page_and_none_at_all_is_refused(store: Store, tmp_path: Path) -> None:
    write_report([store.open("world-train")], tmp_path / "prompts.html", store)
    with pytest.raises(MissingError, match="nothing to report"):
        write_report([], tmp_path / "empty.html", store)
    assert not (tmp_path / "empty.html").exists()


def test_a_failed_page_leaves_the_old_one(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr(page, "render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report([store.open("zero")], tmp_path / "report.html", store)
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_what_cannot_be_told_from_chance_is_not_called_a_rise(store: Store) -> None:
    chapter = gather.chapters([store.open("zero")], store)[0]
    part = chapter.evaluations[0].comparisons[0]
    figure = {"value": 0.01, "low": -0.02, "high": 0.04, "n": 9}
    part.gain["overall"]["strict_pass@1"] = figure  # type: ignore[index]
    assert "stays within chance" in page.headline(chapter)
    part.gain["overall"]["strict_pass@1"] = figure | {"low": -0.2, "high": -0.1}  # type: ignore[index]
    assert "falls from" in page.headline(chapter)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.44, "0.4 s"), (59.0, "59 s"), (60.0, "1 min"), (187.2, "3 min 7 s"), (7260, "2 h 1 min")]
)
def test_durations_read_as_people_say_them(seconds: float, said: str) -> None:
    assert page.duration(seconds) == said


def test_hidden_characters_become_visible_and_the_rest_stays() -> None:
    assert visible("a\x00b\u202ec\ud800") == "a␀b⟨U+202E⟩c⟨U+D800⟩"
    plain = "two\nlines\tand 中文 é"
    assert visible(plain) == plain


def test_the_record_decides_what_is_newest(tmp_path: Path) -> None:
    store = store_with_history(tmp_path / "home", problems=3, samples=1, steps=2)
    given = {"model": "zero@1", "prompts": "world-heldout@1"}
    rows = store.open("world-heldout").rows()  # type: ignore[attr-defined]
    newer: Artifact = seal(
        store, "later", "scores", "eval", given, asked=(rows, 1, 0.5), when="2026-12-01T00:00:00+00:00"
    )
    chapter = gather.chapters([store.open("zero")], store)[0]
    assert chapter.evaluations[0].after.address == newer.address
    assert json.loads((newer.path / "scores.json").read_text())["samples"] == 1
