"""What the terminal shows, from events with a clock in hand."""

from __future__ import annotations

import io
import json
import math

import pytest

from r1cli.commands.pipeline import _evaluation
from r1cli.view import FIGURES, PlainLines, Progress, Screen, number, size, span


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(done: int, total: int = 80, unit: str = "steps", **figures: float) -> dict[str, object]:
    return {"event": "progress", "done": done, "total": total, "unit": unit, "figures": figures}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "True"),
        (12345, "12,345"),
        (0.0, "0.000"),
        (0.61234, "0.612"),
        (33.52, "33.5"),
        (0.00012, "1.20e-04"),
        (math.nan, "nan"),
        ("cpu", "cpu"),
    ],
)
def test_a_figure_is_short(value: object, shown: str) -> None:
    assert number(value) == shown


def test_spans_and_sizes_read_as_people_say_them() -> None:
    assert (span(9.6), span(75), span(3661)) == ("0:10", "1:15", "1:01:01")
    assert (size(512), size(2048), size(3 * 1024**3)) == ("512 B", "2.0 KiB", "3.0 GiB")


def test_time_left_follows_the_pace_since_the_first_count_seen() -> None:
    clock = Clock()
    shown = Progress("zero", clock)
    clock.now += 60  # a resumed run loads for a minute and starts at 40
    shown.take(progress(40))
    assert shown.left() is None
    clock.now += 10
    shown.take(progress(50))
    assert shown.left() == pytest.approx(30)
    assert shown.head() == "zero  50/80 steps · 1:10 · 0:30 left"


def test_another_unit_keeps_a_pace_of_its_own() -> None:
    clock = Clock()
    shown = Progress("zero", clock)
    shown.take(progress(0))
    clock.now += 10
    shown.take(progress(10))
    shown.take(progress(0, 512, "completions"))
    assert shown.left() is None
    clock.now += 1
    shown.take(progress(11))
    assert shown.left() == pytest.approx(69)


def test_step_figures_come_in_one_order_and_bring_no_others() -> None:
    shown = Progress("zero", Clock())
    shown.take({"event": "step", "step": 3, "entropy": 0.81, "kl": 0.0041, "reward": 1.5, "format": 0.97, "gpu": 1})
    assert shown.tail() == "reward 1.500 · format 0.970 · kl 0.004 · entropy 0.810"


def test_a_held_out_examination_is_said_at_once_and_leaves_the_training_figures() -> None:
    shown = Progress("zero", Clock())
    shown.take({"event": "step", "step": 20, "reward": 1.5, "length": 20.0})
    said = shown.take({"event": "eval", "step": 20, "strict": 0.912, "length": 33.5, "time": 1.0})
    assert said == "step 20, held out: strict 0.912 · length 33.5"
    assert shown.tail() == "reward 1.500 · length 20.0"


def test_the_figures_stay_on_one_line() -> None:
    shown = Progress("zero", Clock())
    shown.take({"event": "step", **dict.fromkeys(FIGURES, 1234.5)})
    assert 60 < len(shown.tail()) <= 80


def test_a_log_gets_a_line_every_few_seconds_and_the_last_one() -> None:
    clock, stream = Clock(), io.StringIO()
    lines = PlainLines(Progress("zero", clock), stream, clock)
    for done in range(81):
        lines(progress(done, reward=done / 80))
        clock.now += 1
    said = stream.getvalue().splitlines()
    assert len(said) == 17
    assert said[0].startswith("zero  0/80 steps")
    assert said[-1] == "zero  80/80 steps · 1:20 · reward 1.000"
    assert all(len(line) <= 80 for line in said)


def test_warnings_do_not_wait() -> None:
    clock, stream = Clock(), io.StringIO()
    lines = PlainLines(Progress("zero", clock), stream, clock)
    lines(progress(1))
    lines({"event": "warning", "text": "31 % of completions were cut"})
    assert stream.getvalue().splitlines()[-1] == "warning: 31 % of completions were cut"


def test_json_leaves_stdout_to_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(as_json=True)
    screen.say("a sentence")
    screen.table(["name", ">steps"], [["zero", 80]])
    screen.data({"reward": math.nan, "name": "零"})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"reward": None, "name": "零"}
    assert "a sentence" in err and "zero" in err


def test_what_a_library_prints_while_a_stage_works_stays_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen(as_json=True).progress("zero") as listener:
        print("loading weights")
        listener(progress(1))
    out, err = capsys.readouterr()
    assert out == "" and "loading weights" in err and "zero  1/80 steps" in err


def test_an_evaluation_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"strict": 0.912, "strict_low": 0.889, "strict_high": 0.931, "pass@1": 0.92, "pass@16": 1.0}
    rest = {"cons@16": 1.0, "format": 0.98, "length": 133.5, "truncated": 0.01, "mixed_language": 0.1}
    gain = {"gain": 0.78, "gain_low": 0.75, "gain_high": 0.81}
    written = {"language": 0.91, "readable": 0.4, "reflective": 1.25, "stages.world.oracle:reward": None}
    row = {"sampling": "T0.6-p0.95", "family": "arithmetic", "problems": 256, **figures, **rest, **gain}
    _evaluation([row | {"written": written}, {**row, "family": "program", "written": written}], Screen())
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "91.2 [89,93]" in out and "78.0 [75,81] points" in out
    assert "oracle reward" in out and "1.250" in out


def test_an_evaluation_of_general_prompts_shows_no_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"sampling": "T1-p1", "family": "all", "problems": 150, "strict": None, "written": {"language": 1.0}}
    _evaluation([row], Screen())
    out = capsys.readouterr().out
    assert "T1-p1: 150 problems" in out and "strict" not in out and "100.0" in out


def test_a_table_fits_80_columns_and_loses_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    long = "learning_rate 1e-05 → 2e-05 and " * 6
    Screen().table(["node", "reason", ">number"], [["cold-start", long, 7], ["rl[red]", "model cold-start@3", None]])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("1e-05") == 6 and "rl[red]" in out


def test_an_alarm_is_shown_as_one_and_what_samples_foretell_as_a_table() -> None:
    shown = Progress("zero", Clock())
    assert shown.take({"event": "alarm", "text": "step 8: kl is 2"}) == "alarm: step 8: kl is 2"
    figures = {"samples": 304.0, "reward": 0.412, "truncated": 0.25, "tokens_a_second": 12_300.0, "run_seconds": 290.0}
    assert shown.take({"event": "preflight", "figures": figures}).splitlines() == [
        "samples  reward  cut  tokens/s          run",
        "    304   0.412  25%       12k  up to 5 min",
    ]
    assert shown.take({"event": "preflight", "figures": {}}) == "", "a short run draws none"
