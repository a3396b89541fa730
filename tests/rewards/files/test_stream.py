"""One line out for each line in, in order, whatever is in it; a hang costs its row; memory is flat; a kill resumes."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import LockedError, RecipeError
from stages.rewards.files import lines, stream, stream_file
from stages.rewards.files.stream import Job, Summary

MODULE = """
import os, time
from stages.rewards.verdict import Verdict

def reward(completion, row, contract):
    if "hang" in completion:
        time.sleep(1000)
    if "die" in completion:
        os.abort()
    if "slow" in completion:
        time.sleep(0.2)
    return Verdict(1.0 if row.answer in completion else 0.0, f"by {os.getpid()}")
"""
ROOT = Path(__file__).parents[3]


def line(id: Any, completion: str = "<think>x</think><answer>17</answer>", **more: Any) -> bytes:
    return json.dumps({"id": id, "completion": completion, "answer": "17", **more}).encode() + b"\n"


def scored(data: bytes, *rewards: str, **job: Any) -> tuple[list[dict[str, Any]], Summary]:
    out: list[bytes] = []
    summary = stream.score(Job(rewards=rewards, **job), io.BytesIO(data), out.append, lambda _: None)
    return [json.loads(one) for one in b"".join(out).splitlines()], summary


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a user's reward that hangs, dies or takes its time when a completion says so."""
    (tmp_path / "mine_streamed.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "mine_streamed:reward"


NASTY = {
    b"": "the line is empty",
    b" \t\r": "the line is empty",
    b"\xff\xfe": "the line is not UTF-8 text",
    b"{": "the line is not JSON",
    b"[" * 100_000: "the line is not JSON",
    b"9" * 5000: "the line is not JSON",
    b"\x00": "the line is not JSON",
    b"null": "the line is JSON but not an object",
    b"[1]": "the line is JSON but not an object",
    b'{"id": 1, "completion": "", "answer": "1", "answer": "2"}': "`answer` stands twice",
    b"{}": "the row lacks `id`",
    b'{"id": null, "completion": ""}': "`id` should be text or a number",
    b'{"id": NaN, "completion": ""}': "`id` should be text or a number",
    b'{"id": [1], "completion": ""}': "`id` should be text or a number",
    b'{"id": 1}': "the row lacks `completion`",
    b'{"id": 1, "completion": null}': "`completion` should be text",
    b'{"id": 1, "completion": "", "answer": [{}]}': "`answer` should be text or a number, or a list",
    b'{"id": 1, "completion": "", "problem": 3}': "`problem` should be text",
    b'{"id": 1, "completion": "", "tokens": -1}': "`tokens` should be a whole number of at least 0",
    b'{"id": 1, "completion": "", "meta": 1}': "`meta` should be an object",
}


def test_every_line_gets_one_answer_in_order_and_the_good_among_them_are_scored() -> None:
    data = b"".join(bad + b"\n" + line(f"good{n}") for n, bad in enumerate(NASTY))
    said, summary = scored(data + line("last").rstrip(), "format", workers=2)
    assert [one["id"] for one in said[1::2]] == [f"good{n}" for n in range(len(NASTY))]
    assert said[-1] == {"id": "last", "reward": 1.0, "reason": "strict format", "seconds": said[-1]["seconds"]}
    for one, reason in zip(said[::2], NASTY.values(), strict=False):
        assert one["reward"] is None and one["reason"].startswith(reason), one
    assert summary.rows == 2 * len(NASTY) + 1 and summary.judged == len(NASTY) + 1 and summary.mean == 1.0
    assert sum(summary.nulls.values()) == len(NASTY)
    assert 0 < (summary.quantile(0.5) or 0) <= (summary.quantile(0.99) or 0) < 60


def test_text_no_encoding_likes_is_still_scored() -> None:
    data = b"".join(
        line(n, f"<think>x{text}</think><answer>17</answer>")
        for n, text in enumerate(("\ud800", "\0", "\u2028", "\u202e", "\x85", "\U0010ffff"))
    )
    said, _ = scored(b"\xef\xbb\xbf" + data + line("\ud800 \0"), "format", workers=1)
    assert [one["reward"] for one in said] == [1.0] * 7 and said[-1]["id"] == "\ud800 \0"


ANYTHING = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*lines._OWN, "tests", "options", "x"]), inner, max_size=6)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ANYTHING, max_size=5))
def test_any_bytes_are_split_and_read_one_answer_a_line(parts: list[bytes]) -> None:
    data = b"\n".join(parts)
    expected = data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    read = [lines.read(one) for one in stream.split(io.BytesIO(data))]
    assert len(read) == expected
    for one in read:
        assert one.refused or json.dumps(one.question())
        out = lines.refused(one, one.refused or "why").line(several=True)
        assert out.count(b"\n") == 1 and json.loads(out)["reward"] is None
    assert sum(map(len, stream.groups(io.BytesIO(data)))) == expected


def test_random_lines_come_out_as_many_as_they_went_in() -> None:
    dice = random.Random(0)
    data = b"\n".join(dice.randbytes(dice.randrange(40)).replace(b"\n", b"{") for _ in range(500)) + b"\n" + line("end")
    said, _ = scored(data, "format", "length", workers=2)
    assert len(said) == 501 and said[-1]["rewards"]["format"] == 1.0
    assert said[-1]["reward"] == sum(said[-1]["rewards"].values()) and set(said[-1]["reasons"]) == {"format", "length"}


def test_a_line_over_the_bound_is_answered_and_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LINE_BYTES", 1000)
    data = line("a") + b"x" * 1000 + b"\n" + b"y" * 1001 + b"\n" + b"z" * 3 * 2**20 + b"\n" + line("b") + b"w" * 5000
    assert [one and len(one) for one in stream.split(io.BytesIO(data))] == [
        len(line("a")) - 1, 1000, None, None, len(line("b")) - 1, None
    ]  # fmt: skip
    assert lines.read(None).refused == "the line is over 16 MiB"


def test_a_row_says_its_verifier_and_prefill_by_what_it_holds() -> None:
    def read(**row: Any) -> lines.Asked:
        return lines.read(line(1, **row))

    def verifier(**row: Any) -> str:
        return (read(**row).row or {})["verifier"]

    assert verifier() == "math" and verifier(verifier="exact") == "exact"
    assert verifier(tests=["assert f(1) == 2"]) == "code"
    assert verifier(options=["x", "y"], answer="B") == "choice" and verifier(options=["x", "y"], answer="17") == "math"
    spoken = read(tests=[], language="cpp").row or {}
    assert spoken["language"] == "" and spoken["meta"]["code_language"] == "cpp"
    assert (read(tests=[], language="Java").row or {})["meta"]["code_language"] == "Java", "which nothing runs: null"
    known = read(tests=[], level=3, meta={"a": 1}, source="x", tokens=5)
    assert (known.row or {})["meta"] == {"a": 1, "tests": [], "source": "x"} and known.tokens == 5
    assert [(read(answer=one).row or {})["answer"] for one in (17, 0.5, None)] == ["17", "0.5", ""]
    assert [read(completion=text).prefill for text in ("a</think>b", "<think>a</think>b", "</think><think>", "ab")] == [
        "<think>\n", "", "<think>\n", ""
    ]  # fmt: skip


def test_a_prefilled_completion_is_judged_as_one() -> None:
    said, _ = scored(line(1, "x</think><answer>17</answer>") + line(2, "<answer>17</answer>"), "format", workers=1)
    assert [one["reward"] for one in said] == [1.0, 0.0]


def test_a_hang_and_a_crash_cost_their_rows_and_at_most_their_limit(mine: str) -> None:
    texts = ["17", "hang 17", "no", "die 17", "17", "hang 17", "17"]
    data = b"".join(line(n, text) for n, text in enumerate(texts))
    start = time.monotonic()
    said, summary = scored(data, mine, workers=2, timeout_s=3.0)
    assert [one["reward"] for one in said] == [1.0, None, 0.0, None, 1.0, None, 1.0]
    assert [one["id"] for one in said] == list(range(7))
    assert said[1]["reason"] == "scoring took over 3 s" and said[1]["seconds"] == 3.0
    assert said[3]["reason"] == "the reward crashed (SIGABRT)"
    assert time.monotonic() - start < 500 and summary.judged == 4


def test_a_module_that_takes_longer_to_import_than_a_row_may_costs_no_row(mine: str, tmp_path: Path) -> None:
    (tmp_path / "mine_late.py").write_text("import time\ntime.sleep(1.5)\n" + MODULE)
    said, _ = scored(line(1, "17") + line(2, "hang") + line(3, "17"), "mine_late:reward", workers=1, timeout_s=1.0)
    assert [one["reward"] for one in said] == [1.0, None, 1.0]


def test_slow_rows_are_spread_over_the_workers(mine: str) -> None:
    said, _ = scored(b"".join(line(n, "slow 17") for n in range(16)), mine, workers=4)
    assert [one["id"] for one in said] == list(range(16))
    assert len({one["reason"] for one in said}) == 4, "each of the four has judged some"


def test_rows_of_one_group_that_stand_together_are_judged_together() -> None:
    short, long = "<answer>17</answer>", "<think>" + "x" * 500 + "</think><answer>17</answer>"
    rows = [("a", short), ("a", long), ("b", long), ("c", short), ("c", long)]
    said, _ = scored(b"".join(line(name, text, tokens=len(text)) for name, text in rows), "length_penalty", workers=2)
    assert [one["reward"] for one in said][:2] == [one["reward"] for one in said][3:]
    assert said[0]["reward"] > said[1]["reward"], "the shorter right one of its group"
    data = b"".join(line(n, group="g") for n in range(stream.GROUP_ROWS + 5)) + b"\n" + line(1, group="g")
    assert [len(group) for group in stream.groups(io.BytesIO(data))] == [stream.GROUP_ROWS, 5, 1, 1]


def test_what_does_not_apply_is_no_zero() -> None:
    said, _ = scored(line(1) + line(2, verifier="helpful"), "accuracy", workers=1)
    assert said[0]["reward"] == 1.0
    assert said[1]["reward"] is None and "not for rows of this kind (verifier helpful)" in said[1]["reason"]


def test_a_wrong_request_is_refused_before_anything_is_read() -> None:
    for rewards, options in ((("acuracy",), {}), (("cosine",), {"cosine": {"lenth": 1}}), (("helpful",), {})):
        with pytest.raises(RecipeError):
            scored(b"", *rewards, options=options)


def test_memory_is_flat_over_a_large_file(tmp_path: Path) -> None:
    def peak(megabytes: int) -> int:
        with (tmp_path / "rows.jsonl").open("wb") as file:
            for n in range(megabytes):
                file.write(line(n, "<think>" + "x" * 499_900 + "</think><answer>17</answer>") * 2)
        program = (
            "import resource, sys; from pathlib import Path; from stages.rewards.files import stream, stream_file\n"
            "job = stream.Job(rewards=('format',), workers=1)\n"
            "said = stream_file.score(job, Path(sys.argv[1]), Path(sys.argv[2]), lambda _: None)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, said.judged)"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "rows.jsonl"), str(tmp_path / "out.jsonl")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        kilobytes, judged = map(int, done.stdout.split())
        assert judged == 2 * megabytes
        return kilobytes

    assert peak(30) - peak(10) < 12 * 1024


def test_a_killed_run_leaves_no_output_and_the_same_command_goes_on(tmp_path: Path, mine: str) -> None:
    source, target = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"".join(line(n, "slow 17" if n >= 20 else "17") for n in range(60)))
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from pathlib import Path\n"
        "from stages.rewards.files import stream, stream_file\n"
        f"job = stream.Job(rewards=({mine!r},), workers=1)\n"
        "tell = lambda said: print(said.rows, flush=True)\n"
        f"stream_file.score(job, Path({str(source)!r}), Path({str(target)!r}), tell)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        while int(run.stdout.readline()) < 21:
            pass
        with pytest.raises(LockedError):
            stream_file.score(Job(rewards=(mine,)), source, target, lambda _: None)
        run.send_signal(signal.SIGKILL)
    assert not target.exists()
    partial = tmp_path / ".out.jsonl.partial"
    had = len(partial.read_bytes().splitlines())
    assert 21 <= had < 60
    with partial.open("ab") as file:
        file.write(b'{"id": 5')  # torn by the kill
    told: list[int] = []
    summary = stream_file.score(Job(rewards=(mine,), workers=4), source, target, lambda said: told.append(said.rows))
    assert told[0] > had, "what was answered is not asked again"
    assert summary.rows == summary.judged == 60 and summary.bytes == source.stat().st_size
    assert [json.loads(one)["id"] for one in target.read_bytes().splitlines()] == list(range(60))
    assert {*os.listdir(tmp_path)} - {"__pycache__"} == {"mine_streamed.py", "out.jsonl", "rows.jsonl"}


def test_what_another_job_left_is_not_taken_up(tmp_path: Path) -> None:
    source, target = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(line(1))
    (tmp_path / ".out.jsonl.partial").write_bytes(b'{"id": 1, "reward": 0.25, "reason": "old", "seconds": 1}\n')
    (tmp_path / ".out.jsonl.partial.json").write_text('"another"')
    stream_file.score(Job(rewards=("format",), workers=1), source, target, lambda _: None)
    assert [json.loads(one)["reward"] for one in target.read_bytes().splitlines()] == [1.0]


@pytest.mark.parametrize(
    ("row", "paid"),
    [
        ({"answer": ["17", "18"]}, {"17": 1.0, "18": 1.0, "17 or 18": 0.0, "19": 0.0}),
        ({"answer": '["17", "18"]'}, {"17": 1.0, "18": 1.0}),
        ({"answer": ["New York", "NYC"], "verifier": "exact"}, {"NYC": 1.0, "York": 0.0}),
        ({"answer": [17, 18]}, {"17": 0.0, "17, 18": 1.0, "18 and 17": 1.0}),
        ({"answer": [17]}, {"17": 1.0}),
        ({"answer": "[17, 18]"}, {"[17,18]": 1.0, "17": 0.0}),
    ],
)
def test_a_list_of_answers_means_what_it_means_to_prepare(row: dict[str, Any], paid: dict[str, float]) -> None:
    asked = "".join(json.dumps({"id": said, "completion": f"\\boxed{{{said}}}", **row}) + "\n" for said in paid)
    assert {one["id"]: one["reward"] for one in scored(asked.encode(), "accuracy")[0]} == paid


def test_an_answer_that_nothing_marks_is_looked_for_by_every_gold() -> None:
    row = {"id": 1, "completion": "It has two halves, so we get 1/2.", "answer": ["one half of it", "1/2"]}
    assert scored(json.dumps(row).encode(), "accuracy")[0][0]["reward"] == 1.0
