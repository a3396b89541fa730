"""Problems that share a run of words with an evaluation are named by it, in the words of the row."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

from stages.core import text
from stages.core.data.contamination import Grams, grams_of


def test_a_shared_run_of_words_is_named_whatever_its_case_and_spacing(tmp_path: Path) -> None:
    grams = grams_of(["The quick brown fox jumps"], 3, tmp_path / "grams.npy")
    assert grams.shared("a QUICK,  brown fox") == "quick brown fox"
    assert grams.shared("a quick brown dog") == grams.shared("fox brown quick") == grams.shared("") == ""


def test_a_problem_shorter_than_a_run_is_contaminated_by_itself_alone(tmp_path: Path) -> None:
    grams = grams_of(["Compute 7+15"], 10, tmp_path / "grams.npy")
    assert grams.shared("compute  7 + 15") == "compute 7 15"
    assert grams.shared("Compute 7+15+2") == ""


def test_without_evaluation_problems_nothing_is_shared_and_nothing_written(tmp_path: Path) -> None:
    for none in ((), ("", "?!")):
        assert grams_of(none, 3, tmp_path / "grams.npy").shared("anything at all") == ""
    assert not list(tmp_path.iterdir())


def test_numbers_find_what_a_set_of_the_words_finds_in_another_process_too(tmp_path: Path) -> None:
    drawn = random.Random(0)

    def problems(count: int) -> list[str]:
        return [
            " ".join(drawn.choices(("a", "b", "c", "d", "三", "ünï", "\ud800"), k=drawn.randrange(12)))
            for _ in range(count)
        ]

    for size in (2, 5):
        known, asked = problems(40), problems(400)
        grams: Grams = pickle.loads(pickle.dumps(grams_of(known, size, tmp_path / f"{size}.npy")))
        runs = {run for problem in known for run in text.ngrams(text.words(problem), size)}
        wanted = [" ".join(min(text.ngrams(text.words(each), size) & runs, default=())) for each in asked]
        assert list(map(grams.shared, asked)) == wanted and 0 < sum(map(bool, wanted)) < len(asked)
