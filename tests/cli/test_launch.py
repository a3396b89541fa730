"""`r1 launch slurm`: the script of a cluster that is not here, and a job that runs on this machine."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import submitit

from r1cli import main
from r1cli.commands.launch import Job, _executor, command
from stages.core.errors import RecipeError
from stages.core.storage.store import Store

ROWS = '{"id": "a", "problem": "1+1=", "answer": "2"}\n'


def test_the_script_asks_for_the_machines_and_runs_one_command_on_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("R1_HOME", str(tmp_path))
    size = ["--nodes", "2", "--gpus", "4", "--hours", "3"]
    asked = ["launch", "slurm", "r1_zero", "seed=3", *size, "--json", "--dry-run"]
    assert main.run([*asked, "--slurm", "partition=long", "--slurm", "qos=high"]) == 0
    told = json.loads(capsys.readouterr().out)
    lines = told["script"].splitlines()
    for flag in ("nodes=2", "ntasks-per-node=1", "gpus-per-node=4", "time=180", "partition=long", "qos=high"):
        assert f"#SBATCH --{flag}" in lines, flag
    assert "#SBATCH --signal=USR2@120" in lines
    assert [line for line in lines if "submitit.core._submit" in line and not line.startswith("srun")]
    assert told["command"][0] == "rl" and told["command"][-2:] == ["seed=3", "runtime.processes=8"]


def test_several_machines_are_one_torchrun_whose_first_one_listens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hostnames = tmp_path / "scontrol"
    hostnames.write_text("#!/bin/sh\necho gpu07\necho gpu09\n")
    hostnames.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[07,09]")
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    flag, words = Job(["rl"], 2, 8).launcher()
    assert flag == "--launcher" and words.startswith("srun --nodes=2 --ntasks-per-node=1 torchrun --nnodes=2 ")
    assert "--nproc-per-node=8" in words and words.endswith("--rdzv-id=42 --rdzv-endpoint=gpu07:29500")
    assert Job(["rl"], 1, 8).launcher() == []


def test_a_pipeline_on_several_machines_says_which_node_is_to_use_them() -> None:
    with pytest.raises(RecipeError, match="no node of the pipeline runs in several processes") as caught:
        command("zero", [], 2, 8)
    assert "runtime.processes=16" in caught.value.hint


def test_a_job_that_runs_here_seals_what_the_command_seals_and_tells_of_one_that_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("R1_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "mine.yaml").write_text("stage: prepare\nrecipe: {source: rows.jsonl}\n")
    assert main.run(["launch", "slurm", "mine.yaml", "--local", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert Store().open("mine").kind == "prompts"
    assert "mine@1" in Path(told["log"]).read_text()
    assert main.run(["launch", "slurm", "mine.yaml", "source=gone.jsonl", "--local"]) == 1
    said = capsys.readouterr().err
    assert "failed: r1 ended with exit code 2" in said and "hint:  its log: " in said


def child(parent: int) -> int:
    """The process that one starts next."""
    listed, deadline = Path(f"/proc/{parent}/task/{parent}/children"), time.monotonic() + 60
    while not (found := listed.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return int(found[0])


def test_a_job_whose_time_is_up_is_ended_and_submitted_again_until_it_has_sealed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("R1_HOME", str(tmp_path / "home"))
    (tmp_path / "rows.jsonl").write_text(ROWS)
    asked = Job(["prepare", "--name", "mine", f"source={tmp_path / 'rows.jsonl'}"], 1, 0)
    job = _executor(submitit, asked, 1, {}, local=True).submit(asked)
    runs = child(job._process.pid)  # what submitit starts the job in, and tells when its time is up
    first = child(runs)
    while b"r1cli" not in Path(f"/proc/{first}/cmdline").read_bytes():
        time.sleep(0.01)
    time.sleep(0.2)  # it has begun, and takes longer than that to seal
    os.kill(runs, signal.SIGUSR2)
    assert job.result() == 0
    assert not Path(f"/proc/{first}").exists()
    assert Store().open("mine").record.number == 1
    assert "this job is preempted" in job.stderr()


def test_without_a_cluster_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main.run(["launch", "slurm", "r1_zero"]) == 2
    assert "there is no SLURM on this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["r1_zero", "--gpus", "5"], "5 processes cannot share 8 prompts"),
        (["eval", "--gpus", "2"], "runs in one process"),
    ],
)
def test_a_job_that_could_not_begin_is_refused_before_it_is_submitted(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["launch", "slurm", *words, "--dry-run"]) == 2
    assert why in capsys.readouterr().err
