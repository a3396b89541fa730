"""Every error ends as one sentence, a way out and the exit code that belongs to it."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from r1cli import main
from stages.core.errors import DiskError, MissingError, RecipeError, StageError, TamperedError

ROOT = Path(main.__file__).resolve().parents[1]


def chained(cause: BaseException) -> Exception:
    try:
        raise RuntimeError("could not write the checkpoint") from cause
    except RuntimeError as err:
        return err


@pytest.mark.parametrize(
    ("err", "code", "said"),
    [
        (
            RecipeError("unknown key `x`", where="a.yaml:7", hint="`r1 recipes keys rl`"),
            2,
            "error: a.yaml:7: unknown key `x`",
        ),
        (MissingError("no artifact `zero`", hint="`r1 artifacts list`"), 2, "hint:  `r1 artifacts list`"),
        (TamperedError("weights changed", where="zero@1"), 1, "error: zero@1: weights changed"),
        (StageError("no group differs"), 1, "error: no group differs"),
        (DiskError("the disk is full", hint="free 2 GiB"), 1, "hint:  free 2 GiB"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "error: the disk is full"),
        (chained(OSError(errno.ENOSPC, "No space left on device")), 1, "error: the disk is full"),
        (RuntimeError("Error while serializing: No space left on device (os error 28)"), 1, "error: the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "x.html"), 1, "error: x.html: permission denied"),
        (MemoryError(), 1, "error: out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 1, "error: out of memory"),
        (ModuleNotFoundError("No module named 'vllm'", name="vllm"), 1, "error: the package `vllm` is not installed"),
        (KeyboardInterrupt(), 130, "error: interrupted; run the same command again: it resumes"),
        (ZeroDivisionError("division by zero"), 70, "error: ZeroDivisionError: division by zero (a bug in r1)"),
        (ModuleNotFoundError("No module named 'stages.x'", name="stages.x"), 70, "(a bug in r1)"),
    ],
)
def test_an_error_becomes_a_sentence_and_a_code(
    err: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.explain(err, debug=False) == code
    out, shown = capsys.readouterr()
    assert out == "" and said in shown
    assert len(shown.splitlines()) <= 2 and "Traceback" not in shown


def test_debug_adds_the_traceback_and_keeps_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.explain(chained(ValueError("inner")), debug=True) == 70
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "inner" in shown
    assert shown.splitlines()[-2].startswith("error: RuntimeError")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["rll"], "error: no such command 'rll'"),
        (["rl", "--recipee", "x"], "error: no such option: --recipee"),
        (["recipes", "show"], "error: missing argument 'RECIPE'"),
        (["recipes"], "error: `r1 recipes` needs a command"),
    ],
)
def test_a_wrong_command_line_is_asked_wrongly(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(argv) == 2
    out, shown = capsys.readouterr()
    assert out == "" and said in shown.lower().replace("'recipe'", "'RECIPE'")
    assert "--help` " in shown.splitlines()[-1]


def test_bare_r1_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 0
    assert "Usage: r1" in capsys.readouterr().out


def test_ctrl_c_inside_a_command_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("r1cli.commands.doctor.versions", interrupted)
    assert main.run(["doctor"]) == 130
    assert capsys.readouterr().err == "error: interrupted; run the same command again: it resumes\n"


def test_a_reader_that_left_is_no_error() -> None:
    program = f"{sys.executable} -c 'from r1cli.main import main; main()' --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0" and done.stderr == ""


def test_another_package_called_stages_is_named(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "__init__.py").write_text("")
    lines = [f"import sys; sys.path.insert(0, {str(ROOT)!r})", "from r1cli.main import main"]
    program = "\n".join([*lines, f"sys.path.insert(0, {str(tmp_path)!r})", "main()"])
    done = subprocess.run([sys.executable, "-c", program, "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert str(tmp_path / "stages") in done.stderr and str(ROOT / "stages") in done.stderr
