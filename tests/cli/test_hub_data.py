"""A data set of the hub, read by the hub's own clients, gives the golds that a file gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_hub import running

GOLDS = ["007", "1.50", "2024-01-02", "8"]


def test_the_same_rows_give_the_same_golds_from_a_file_a_folder_and_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"problem": f"What is {n} + {n}?", "answer": gold} for n, gold in enumerate(GOLDS[:3])]
    rows.append({"problem": "What is 4 + 4?", "answer": 8})  # type: ignore[dict-item]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with running(monkeypatch, tmp_path / "cache") as hub:
        hub.repositories["owner/set"] = tmp_path / "set"
        asked = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        asked |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        for name, source in {"file": "set/train.jsonl", "folder": "set", "hub": "hf:owner/set"}.items():
            command = [sys.executable, "-P", "-m", "r1cli", "prepare", f"source={source}", "--name", name]
            environment = {
                **os.environ,
                **asked,
                "R1_HOME": str(tmp_path / "store"),
                "PYTHONPATH": os.pathsep.join(sys.path),
            }
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            sealed = (tmp_path / "store" / name / "1" / "prompts.jsonl").read_text().splitlines()
            assert [json.loads(line)["answer"] for line in sealed] == GOLDS, name
