"""Outside problems become prompts that can be judged; what is left out says why, and a bad row stops everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages import prepare
from stages.core.artifact import Prompts, Record
from stages.core.data import outside
from stages.core.errors import InputError, MissingError, RecipeError
from stages.core.rows import Prompt, read_rows, write_rows

Make = Callable[..., tuple[list[Prompt], list[dict[str, Any]], dict[str, Any]]]


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def problem(number: int, answer: str | None = None) -> dict[str, Any]:
    return {"problem": f"What is {number} and one more?", "answer": answer or str(number + 1)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "mine.jsonl"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def run(recipe: prepare.Recipe, against: Prompts | None = None):  # type: ignore[no-untyped-def]
        work = SimpleNamespace(path=tmp_path / "out", scratch=tmp_path / "scratch", seed=0, emit=lambda *_, **__: None)
        work.path.mkdir(exist_ok=True)
        draft = prepare.run(recipe, prepare.Inputs(against=against), work)
        assert draft.kind is Prompts
        dropped = [json.loads(line) for line in (work.path / "dropped.jsonl").read_text().splitlines()]
        return read_rows(work.path / "prompts.jsonl"), dropped, draft.metrics

    return run


def sealed(folder: Path, *problems: str) -> Prompts:
    folder.mkdir()
    write_rows(folder / "prompts.jsonl", (Prompt(str(i), each, "1", "math") for i, each in enumerate(problems)))
    record = Record(
        kind="prompts", name="exam", number=1, fingerprint="", payload={}, inputs={}, stage="prepare", version=1
    )
    return Prompts(folder, record)


def test_rows_keep_their_order_and_are_counted(source: Path, make: Make) -> None:
    source.write_text(lines(*(problem(i) for i in range(20))))
    rows, dropped, metrics = make(prepare.Recipe(source=str(source), family="sums"))
    assert [row.answer for row in rows] == [str(i + 1) for i in range(20)]
    assert (dropped, metrics["rows_read"], metrics["rows"], metrics["families"]) == ([], 20, 20, {"sums": 20})
    assert {row.verifier for row in rows} == {"math"} and len({row.id for row in rows}) == 20
    assert metrics["source_sha256"] == prepare.identity(prepare.Recipe(source=str(source)))["source_sha256"]


def test_a_changed_source_has_another_identity(source: Path) -> None:
    recipe = prepare.Recipe(source=str(source))
    source.write_text(lines(problem(1)))
    before = prepare.identity(recipe)
    source.write_text(lines(problem(2)))
    assert prepare.identity(recipe) != before


def test_columns_map_and_reach_into_nested_objects(source: Path, make: Make) -> None:
    columns = {"problem": "question.text", "answer": "gold", "level": "difficulty", "id": "n"}
    source.write_text(lines({"question": {"text": "1+1?"}, "gold": 2, "difficulty": "Level 3", "n": 7}))
    rows, _, _ = make(prepare.Recipe(source=str(source), columns=columns))
    assert (rows[0].problem, rows[0].answer, rows[0].level, rows[0].id) == ("1+1?", "2", 3, "7")


@pytest.mark.parametrize(
    ("answer", "pattern", "gold"),
    [
        ("48/2 = 24\n#### 72", "", "72"),
        ("so \\boxed{\\frac{1}{2}}.", "", "\\frac{1}{2}"),
        (" 72 ", "", "72"),
        ("result=72;", "result=(\\d+)", "72"),
        ("nothing", "result=(\\d+)", None),
    ],
)
def test_the_gold_is_taken_out_of_its_solution(answer: str, pattern: str, gold: str | None) -> None:
    assert prepare.extract_gold(answer, pattern) == gold


def test_what_is_left_out_says_why(source: Path, make: Make) -> None:
    source.write_text(
        lines(
            problem(1),
            problem(2),
            {"problem": "What  is 2 and ONE more?", "answer": "3"},
            problem(3, "4"),
            problem(3, "5"),
            problem(4, "   "),
            {"problem": " ", "answer": "1"},
            {"problem": "half a \ud800 pair", "answer": "1"},
        )
    )
    rows, dropped, metrics = make(prepare.Recipe(source=str(source)))
    assert [row.answer for row in rows] == ["2", "3"]
    reasons = {
        "duplicate": 1,
        "conflicting golds": 2,
        "gold cannot be judged": 1,
        "empty problem": 1,
        "not valid Unicode": 1,
    }
    assert metrics["dropped"] == reasons
    assert (dropped[0]["where"], dropped[0]["reason"]) == (f"{source}:3", "duplicate")
    assert all(each["reason"] for each in dropped)


def test_a_program_gold_must_reach_its_target(source: Path, make: Make) -> None:
    good = {"problem": "a", "answer": "dbl", "verifier": "program", "meta": {"prefix": "set 7", "target": "14"}}
    source.write_text(lines(good, {**good, "problem": "b", "answer": "add 1"}))
    rows, dropped, _ = make(prepare.Recipe(source=str(source)))
    assert [row.problem for row in rows] == ["a"] and rows[0].meta == good["meta"]
    assert dropped[0]["detail"] == "ends with 8, expected 14"


def test_the_split_is_a_hash_of_the_problem_and_nothing_else(source: Path, make: Make) -> None:
    source.write_text(lines(*(problem(i) for i in range(400))))
    recipe = prepare.Recipe(source=str(source), heldout_share=0.25)
    train, _, metrics = make(replace(recipe, split="train"))
    heldout, _, _ = make(replace(recipe, split="heldout", seed=5))
    assert 70 < len(heldout) < 130 and len(train) + len(heldout) == 400
    assert metrics["rows_in_other_split"] == len(heldout)
    assert not {row.problem for row in train} & {row.problem for row in heldout}
    assert {row.split for row in train} == {"train"} and {row.split for row in heldout} == {"heldout"}
    assert prepare.split_of("What is 3?", 0.5) == prepare.split_of(" what IS\n3? ", 0.5)


def test_a_shared_run_of_ten_words_is_contamination(source: Path, make: Make, tmp_path: Path) -> None:
    long = "A farmer has twelve cows and sells three of them to his oldest friend today"
    source.write_text(
        lines(
            {"problem": f"Read this. {long}. How many are left?", "answer": "9"},
            {"problem": "A farmer has twelve cows and buys three more. How many?", "answer": "15"},
            {"problem": "1 + 1?", "answer": "2"},
            {"problem": "小明有三个苹果又买了五个现在一共有几个呢", "answer": "8"},
        )
    )
    exam = sealed(tmp_path / "exam", long.upper() + ", how many stay?", "1 + 1?", "请问：小明有三个苹果又买了五个")
    rows, dropped, metrics = make(prepare.Recipe(source=str(source)), against=exam)
    assert [row.answer for row in rows] == ["15"]
    assert metrics["dropped"] == {"contaminated": 3}
    assert len(dropped[0]["detail"].split()) == 10


def test_max_rows_chooses_by_seed_and_keeps_the_order(source: Path, make: Make) -> None:
    source.write_text(lines(*(problem(i) for i in range(50))))
    recipe = prepare.Recipe(source=str(source), max_rows=10)
    first, _, metrics = make(recipe)
    again, _, _ = make(recipe)
    other, _, _ = make(replace(recipe, seed=1))
    assert first == again and len(first) == 10 and first != other
    assert metrics["rows_over_max"] == 40
    assert [int(row.answer) for row in first] == sorted(int(row.answer) for row in first)


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ("{not json", "not JSON"),
        ("[1, 2]", "not an object"),
        ('{"problem": "a"}', "lacks `answer`"),
        ('{"problem": "a", "answer": null}', "lacks `answer`"),
        ('{"answer": "1"}', "lacks `problem`"),
        ('{"problem": ["a"], "answer": "1"}', "`problem` should be text"),
        ('{"problem": "a", "answer": true}', "`answer` should be text"),
        ('{"problem": "a", "answer": "1", "verifier": "poetry"}', "unknown verifier"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line_and_nothing_is_written(
    source: Path, make: Make, tmp_path: Path, bad: str, what: str
) -> None:
    source.write_text(lines(problem(1)) + "\n" + bad + "\n" + lines(problem(2)))
    with pytest.raises(InputError, match=what) as caught:
        make(prepare.Recipe(source=str(source)))
    assert caught.value.where == f"{source}:3" and caught.value.hint
    assert not list((tmp_path / "out").iterdir())


def test_a_line_that_is_not_utf8_is_named(source: Path, make: Make) -> None:
    source.write_bytes(b'{"problem": "\xff", "answer": "1"}\n')
    with pytest.raises(InputError, match="UTF-8") as caught:
        make(prepare.Recipe(source=str(source)))
    assert caught.value.where == f"{source}:1"


def test_a_mapped_column_that_is_missing_is_named_as_the_user_wrote_it(source: Path, make: Make) -> None:
    source.write_text(lines({"question": "a", "answer": "1"}))
    with pytest.raises(InputError, match="lacks `prompt` \\(our `problem`\\)") as caught:
        make(prepare.Recipe(source=str(source), columns={"problem": "prompt"}))
    assert "question, answer" in caught.value.hint


def test_repeated_ids_are_refused(source: Path, make: Make) -> None:
    source.write_text(lines({**problem(1), "id": "x"}, {**problem(2), "id": "x"}))
    with pytest.raises(InputError, match="id `x` was already used"):
        make(prepare.Recipe(source=str(source)))


def test_a_source_without_one_usable_row_is_an_error(source: Path, make: Make) -> None:
    source.write_text("")
    with pytest.raises(InputError, match="none of 0 rows"):
        make(prepare.Recipe(source=str(source)))


def test_a_missing_source_is_named() -> None:
    with pytest.raises(MissingError, match="no file or folder"):
        prepare.identity(prepare.Recipe(source="no/such/file.jsonl"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"split": "test"},
        {"verifier": "maths"},
        {"heldout_share": 1.5},
        {"ngram": 1},
        {"max_rows": -1},
        {"columns": {"problm": "q"}},
        {"answer_pattern": "("},
        {"answer_pattern": "no group"},
    ],
)
def test_a_recipe_that_cannot_be_right_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        prepare.Recipe(source="x.jsonl", **wrong)
    assert caught.value.hint


def test_parquet_reads_like_jsonl(tmp_path: Path, make: Make) -> None:
    import pyarrow as pa  # comes with datasets
    import pyarrow.parquet as parquet

    path = tmp_path / "mine.parquet"
    parquet.write_table(pa.Table.from_pylist([problem(1), problem(2)]), path)
    rows, _, _ = make(prepare.Recipe(source=str(path)))
    assert [row.answer for row in rows] == ["2", "3"]
    path.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a Parquet file"):
        make(prepare.Recipe(source=str(path)))


def test_a_dataset_folder_is_read_by_its_split(tmp_path: Path, make: Make) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text(lines(problem(1)))
    (folder / "test.jsonl").write_text(lines(problem(2)))
    rows, _, metrics = make(prepare.Recipe(source=str(folder), source_split="test"))
    assert [row.answer for row in rows] == ["3"] and len(metrics["source_sha256"]) == 64
    with pytest.raises(InputError, match="cannot read split `nope`"):
        make(prepare.Recipe(source=str(folder), source_split="nope"))


def test_a_hub_dataset_is_known_by_its_commit() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert outside.identity(f"hf:owner/name@{commit}") == {"source_commit": commit}
    with pytest.raises(MissingError, match="cannot be asked for `hf:owner/name`"):
        outside.identity("hf:owner/name")  # no network in tests


def test_the_bundled_gsm8k_slice_is_500_rows_that_judge_themselves(make: Make) -> None:
    path = Path(prepare.__file__).parent / "world" / "data" / "gsm8k_500.jsonl"
    rows, dropped, metrics = make(prepare.Recipe(source=str(path), heldout_share=0.2))
    assert (len(rows), dropped) == (500, [])
    assert metrics["splits"] == {"train": 407, "heldout": 93} and metrics["families"] == {"gsm8k": 500}
    assert rows == read_rows(path)
