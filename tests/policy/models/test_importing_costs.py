"""An import reads its source once and holds no more of it than a piece."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from tests.policy import styles

MEGA = 1 << 20
MEASURE = """
import json, resource, sys
from stages.core.artifact import Model
from stages.core.run.sources import resolve
from stages.core.storage.store import Store
import stages.policy.models.importing
def read():
    return int(open("/proc/self/io").read().split("rchar: ")[1].split()[0])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
from pathlib import Path
resolve(sys.argv[1], Model, Store(Path(sys.argv[3])))  # what is loaded on first use
before, held = read(), peak()
model = resolve(sys.argv[2], Model, Store(Path(sys.argv[3])))
print(json.dumps({"read": read() - before, "held": peak() - held}))
"""


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what a process reads as Linux does")
@pytest.mark.parametrize("place", ["a folder", "the hub's cache"])
def test_a_source_is_read_once_and_never_held_whole(tmp_path: Path, place: str) -> None:
    cached = tmp_path / "cache" / "models--owner--large"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    small, large = styles.folder("plain", tmp_path / "small"), styles.folder("plain", cached / "snapshots" / COMMIT)
    words = styles.tokenizer("plain")
    shape = {"hidden_size": 64, "intermediate_size": 40_000, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(words), **shape, eos_token_id=2, bos_token_id=1, pad_token_id=3)
    with torch.device("meta"):
        names = {name: part.shape for name, part in LlamaForCausalLM(config).state_dict().items()}
    save_file({name: torch.zeros(one) for name, one in names.items()}, large / "model.safetensors", {"format": "pt"})
    config.save_pretrained(large)
    size = (large / "model.safetensors").stat().st_size
    assert size > 110 * MEGA
    asked = str(large) if place == "a folder" else "hf:owner/large"
    told = subprocess.run(
        [sys.executable, "-c", MEASURE, str(small), asked, str(tmp_path / "home")],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(told.stdout.splitlines()[-1])
    assert size <= found["read"] < size + 20 * MEGA
    assert found["held"] < 60 * MEGA
