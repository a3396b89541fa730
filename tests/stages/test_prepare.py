"""Outside problems become prompts that can be judged; what is left out says why, and a bad row stops nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages import prepare
from stages.core.artifact import Prompts, Record
from stages.core.data import outside, pieces
from stages.core.errors import InputError, MissingError, RecipeError
from stages.core.rows import Conversation, Preference, Prompt, read_rows, write_rows
from stages.core.run import beside
from stages.core.run.runtime import Runtime

ROWS = {"prompts": Prompt, "conversations": Conversation, "preferences": Preference}


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def problem(number: int, answer: str | None = None) -> dict[str, Any]:
    return {"problem": f"What is {number} and one more?", "answer": answer or str(number + 1)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "mine.jsonl"


class Maker:
    """Runs the stage in a folder of its own and reads what it wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []

    def __call__(
        self, recipe: prepare.Recipe, against: Prompts | None = None
    ) -> tuple[list[Any], list[dict[str, Any]], dict[str, Any]]:
        places = {"path": self.folder / "out", "scratch": self.folder / "scratch"}
        work = SimpleNamespace(**places, seed=0, runtime=Runtime(), emit=self.hear)
        work.path.mkdir(exist_ok=True)
        draft = prepare.run(recipe, prepare.Inputs(against=against), work)  # type: ignore[arg-type]
        assert draft.kind is prepare.KINDS[recipe.kind] and not list(work.scratch.glob("rows"))
        dropped = [json.loads(line) for line in (work.path / "dropped.jsonl").read_text().splitlines()]
        return read_rows(work.path / f"{recipe.kind}.jsonl", ROWS[recipe.kind]), dropped, draft.metrics

    def hear(self, event: str, **told: Any) -> None:
        if event == "warning":
            self.warnings.append(told["text"])


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def sealed(folder: Path, *problems: str) -> Prompts:
    folder.mkdir()
    write_rows(folder / "prompts.jsonl", (Prompt(str(i), each, "1", "math") for i, each in enumerate(problems)))
    record = Record(
        kind="prompts", name="exam", number=1, fingerprint="", payload={}, inputs={}, stage="prepare", version=1
    )
    return Prompts(folder, record)


def test_rows_keep_their_order_and_are_counted(source: Path, make: Maker) -> None:
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


def test_columns_map_and_reach_into_nested_objects(source: Path, make: Maker) -> None:
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


def test_what_is_left_out_says_why(source: Path, make: Maker) -> None:
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
        "no answer": 1,
        "empty problem": 1,
        "not valid Unicode": 1,
    }
    assert metrics["dropped"] == reasons
    assert (dropped[0]["where"], dropped[0]["reason"]) == (f"{source}:3", "duplicate")
    assert all(each["reason"] for each in dropped)


def test_a_program_gold_must_reach_its_target(source: Path, make: Maker) -> None:
    good = {"problem": "a", "answer": "dbl", "verifier": "program", "meta": {"prefix": "set 7", "target": "14"}}
    source.write_text(lines(good, {**good, "problem": "b", "answer": "add 1"}))
    rows, dropped, _ = make(prepare.Recipe(source=str(source)))
    assert [row.problem for row in rows] == ["a"] and rows[0].meta == good["meta"]
    assert dropped[0]["detail"] == "ends with 8, expected 14"


def test_the_split_is_a_hash_of_the_problem_and_nothing_else(source: Path, make: Maker) -> None:
    source.write_text(lines(*(problem(i) for i in range(400))))
    recipe = prepare.Recipe(source=str(source), heldout_share=0.25)
    train, _, metrics = make(replace(recipe, split="train"))
    heldout, _, _ = make(replace(recipe, split="heldout", seed=5))
    assert 70 < len(heldout) < 130 and len(train) + len(heldout) == 400
    assert metrics["rows_in_other_split"] == len(heldout)
    assert not {row.problem for row in train} & {row.problem for row in heldout}
    assert {row.split for row in train} == {"train"} and {row.split for row in heldout} == {"heldout"}
    assert prepare.split_of("What is 3?", 0.5) == prepare.split_of(" what IS\n3? ", 0.5)


def test_a_shared_run_of_ten_words_is_contamination(source: Path, make: Maker, tmp_path: Path) -> None:
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


def test_max_rows_chooses_by_seed_and_keeps_the_order(source: Path, make: Maker) -> None:
    source.write_text(lines(*(problem(i) for i in range(50))))
    recipe = prepare.Recipe(source=str(source), max_rows=10)
    first, _, metrics = make(recipe)
    again, _, _ = make(recipe)
    other, _, _ = make(replace(recipe, seed=1))
    assert first == again and len(first) == 10 and first != other
    assert metrics["rows_over_max"] == 40
    assert [int(row.answer) for row in first] == sorted(int(row.answer) for row in first)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{not json", "not JSON"),
        ("[1, 2]", "not an object"),
        ('{"problem": "a"}', "no answer"),
        ('{"problem": "a", "answer": null}', "no answer"),
        ('{"problem": "a", "answer": NaN}', "no answer"),
        ('{"answer": "1"}', "no problem"),
        ('{"problem": null, "answer": "1"}', "empty problem"),
        ('{"problem": ["a", "b"], "answer": "1"}', "not a text"),
        ('{"problem": "a", "answer": {"value": 1}}', "not a text"),
        ('{"problem": "a", "answer": "1", "verifier": "poetry"}', "unknown verifier"),
        ('{"problem": "a \\ud83d", "answer": "1"}', "not valid Unicode"),
        ("[" * 100_000, "not JSON"),
        (b'{"problem": "\xff", "answer": "1"}', "not UTF-8 text"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_with_its_reason(
    source: Path, make: Maker, bad: str | bytes, reason: str
) -> None:
    line = bad.encode() if isinstance(bad, str) else bad
    source.write_bytes((lines(problem(1)) + "\n").encode() + line + b"\n" + lines(problem(2)).encode())
    rows, dropped, metrics = make(prepare.Recipe(source=str(source)))
    assert [row.answer for row in rows] == ["2", "3"] and metrics["dropped"] == {reason: 1}
    assert (dropped[0]["where"], dropped[0]["reason"]) == (f"{source}:3", reason)


def test_a_column_that_no_row_has_ends_the_command_and_names_what_there_is(
    source: Path, make: Maker, tmp_path: Path
) -> None:
    source.write_text(lines({"question": "a", "answer": "1"}))
    with pytest.raises(InputError, match="no row has `promt` \\(our `problem`\\)") as caught:
        make(prepare.Recipe(source=str(source), columns={"problem": "promt"}))
    assert "question, answer" in caught.value.hint and "{problem: question}" in caught.value.hint
    source.write_text(lines({"problem": "a", "solution": "1"}, {"problem": "b", "solution": "2"}))
    with pytest.raises(InputError, match="no row has `answer`") as caught:
        make(prepare.Recipe(source=str(source)))
    assert "{answer: solution}" in caught.value.hint
    with pytest.raises(InputError, match="no row has `topic` \\(our `family`\\)"):
        make(prepare.Recipe(source=str(source), columns={"answer": "solution", "family": "topic"}))
    assert not list((tmp_path / "out").iterdir())


def test_a_repeated_id_gets_a_number(source: Path, make: Maker) -> None:
    source.write_text(lines(*({**problem(i), "id": "x"} for i in range(3))))
    rows, dropped, metrics = make(prepare.Recipe(source=str(source)))
    assert ([row.id for row in rows], dropped, metrics["ids_repeated"]) == (["x", "x-2", "x-3"], [], 2)


def test_a_source_without_one_usable_row_is_an_error(source: Path, make: Maker) -> None:
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


def test_parquet_reads_like_jsonl(tmp_path: Path, make: Maker) -> None:
    import pyarrow as pa  # comes with datasets
    import pyarrow.parquet as parquet

    path = tmp_path / "mine.parquet"
    parquet.write_table(pa.Table.from_pylist([problem(1), problem(2)]), path)
    rows, _, _ = make(prepare.Recipe(source=str(path)))
    assert [row.answer for row in rows] == ["2", "3"]
    path.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a Parquet file"):
        make(prepare.Recipe(source=str(path)))


def test_a_dataset_folder_is_read_by_its_split(tmp_path: Path, make: Maker) -> None:
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


def test_the_bundled_gsm8k_slice_is_500_rows_that_judge_themselves(make: Maker) -> None:
    path = Path(prepare.__file__).parent / "world" / "data" / "gsm8k_500.jsonl"
    rows, dropped, metrics = make(prepare.Recipe(source=str(path), heldout_share=0.2))
    assert (len(rows), dropped) == (500, [])
    assert metrics["splits"] == {"train": 407, "heldout": 93} and metrics["families"] == {"gsm8k": 500}
    assert rows == read_rows(path)


def test_a_whole_float_is_whole_for_the_exact_verifier_and_a_text_stays(source: Path, make: Maker) -> None:
    source.write_text(lines({"problem": "a", "answer": 42.0}, {"problem": "b", "answer": "42.0"}))
    rows, _, _ = make(prepare.Recipe(source=str(source), verifier="exact"))
    assert [row.answer for row in rows] == ["42", "42.0"]


def test_golds_that_only_say_there_is_none_go_unless_the_recipe_keeps_them(source: Path, make: Maker) -> None:
    source.write_text(lines(problem(1), problem(2, "proof"), problem(3, "N/A"), problem(4, "None"), problem(5, "?")))
    _, dropped, metrics = make(prepare.Recipe(source=str(source)))
    assert metrics["dropped"] == {"no answer": 4} and [row["detail"] for row in dropped] == [
        "proof",
        "N/A",
        "None",
        "?",
    ]
    rows, _, _ = make(prepare.Recipe(source=str(source), real_answers=["none"]))
    assert [(row.answer, row.meta) for row in rows] == [("2", {}), ("None", {"real_answer": True})]


def test_a_gold_of_many_rows_and_a_picture_column_are_told(source: Path, make: Maker) -> None:
    source.write_text(
        lines(*({**problem(i, "0"), "image": "x.png"} for i in range(10)), *(problem(i) for i in range(10, 30)))
    )
    make(prepare.Recipe(source=str(source)))
    assert make.warnings == [
        '10 of 30 rows have the gold "0": is it an answer, or does it say that there is none?',
        "`image` is not read: a problem that needs it cannot be solved",
    ]


def test_problems_that_are_too_long_are_left_out(source: Path, make: Maker) -> None:
    long = {"messages": [{"role": "system", "content": "s" * 40}, {"role": "user", "content": "q"}], "answer": "1"}
    source.write_text(lines(problem(1), {"problem": "x" * 50, "answer": "1"}, long))
    rows, dropped, _ = make(prepare.Recipe(source=str(source), max_problem_chars=40))
    assert len(rows) == 1 and [row["detail"] for row in dropped] == ["50 characters", "41 characters"]


def test_conversations_are_made_from_messages_and_equal_ones_go(source: Path, make: Maker) -> None:
    said = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]}
    first, second = ({"role": "assistant", "content": f"<think>t</think>{answer}"} for answer in "ab")
    rows = [{"messages": [*said["messages"], last]} for last in (first, second, first)]
    source.write_text(lines(*rows))
    found, _, metrics = make(prepare.Recipe(source=str(source), kind="conversations"))
    assert [(row.problem, row.reasoning, row.summary) for row in found] == [("q", "t", "a"), ("q", "t", "b")]
    assert found[0].turns == [{"role": "system", "content": "s"}] and metrics["dropped"] == {"duplicate": 1}
    assert "splits" not in metrics and len({row.id for row in found}) == 2


def test_preferences_that_contradict_each_other_go(source: Path, make: Maker) -> None:
    pairs = [("p", "a", "b"), ("p", "b", "a"), ("q", "a", "b")]
    source.write_text(lines(*({"prompt": p, "chosen": c, "rejected": r} for p, c, r in pairs)))
    found, _, metrics = make(prepare.Recipe(source=str(source), kind="preferences"))
    assert [(row.problem, row.chosen, row.rejected) for row in found] == [("q", "a", "b")]
    assert metrics["dropped"] == {"conflicting preferences": 2}


def test_the_same_rows_give_the_same_golds_from_a_file_and_from_a_folder(tmp_path: Path, make: Maker) -> None:
    answers = ["007", "1.50", "2024-05-01", "[1, 2]", 42, 1.5]
    rows = lines(*({"problem": f"q{i}", "answer": answer} for i, answer in enumerate(answers)))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(rows)
    for source in (tmp_path / "set", tmp_path / "set" / "train.jsonl"):
        found, dropped, _ = make(prepare.Recipe(source=str(source), verifier="exact"))
        assert ([row.answer for row in found], dropped) == (["007", "1.50", "2024-05-01", "[1, 2]", "42", "1.5"], [])


def test_on_all_cores_and_in_small_pieces_the_bytes_are_the_same(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the whole file tells: equal and contradicting rows in different pieces, ids that come again, how an
    answer column counts, which columns no row has."""
    rows: list[dict[str, Any]] = [problem(n % 7) | {"id": f"i{n % 2}"} for n in range(15)]
    rows += [problem(3, "99"), problem(8, " "), {"problem": "", "answer": "1"}, problem(40), problem(41)]
    rows += [{"problem": f"Which of {n}?", "answer": str(n % 3 + 1), "options": ["a", "b", "c"]} for n in range(4)]
    source.write_text(lines(*rows) + "{torn\n" + lines(problem(50), {"problem": "half \ud800", "answer": "2"}))
    recipe = prepare.Recipe(source=str(source), max_rows=7, seed=3, split="train", heldout_share=0.2)
    against = sealed(tmp_path / "exam", problem(41)["problem"])
    found = []
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        made = Maker(tmp_path / name)
        told = made(recipe, against)
        found.append((told, made.warnings, [path.read_bytes() for path in sorted((tmp_path / name / "out").iterdir())]))
        monkeypatch.setattr(pieces, "AT_ONCE", 4)
        monkeypatch.setattr(beside, "processes", lambda *_: 2)
    assert found[0] == found[1]
    (kept, dropped, figures), warnings, _ = found[0]
    assert len(kept) == 7 and figures["rows_over_max"] > 0 and figures["ids_repeated"] > 0 and warnings
    assert {"duplicate", "conflicting golds", "contaminated", "empty problem", "no answer", "not JSON"} <= {
        row["reason"] for row in dropped
    }
