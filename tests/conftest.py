"""What every test stands on: a store of its own, one thread, no network, 80 columns, and the same examples each time.

Property tests draw their examples from a seed made of the test itself; `make fuzz` draws new ones.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.load_profile("same")

# Before any test module imports torch or transformers: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["COLUMNS"] = "80"
os.environ["NO_COLOR"] = "1"
os.environ.pop("R1_HOME", None)
if "PYTEST_XDIST_WORKER" in os.environ:  # some tests look for what is left behind: each process has a folder of its own
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="t-")
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

# No test in these folders takes long.
LIGHT = tuple(f"tests/{folder}/" for folder in ("core", "house", "report", "rewards", "study", "world"))


@pytest.fixture(autouse=True)
def r1_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store: no test reads or writes the user's own."""
    home = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("R1_HOME", str(home))
    return home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Processes share the files in this order: a long one must not be left to the end, for one process alone.
    items.sort(key=lambda item: (item.get_closest_marker("vllm") is None, item.nodeid.startswith(LIGHT)))
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
    if importlib.util.find_spec("vllm") is None and not os.environ.get("R1_REQUIRE_VLLM"):
        for item in items:
            if item.get_closest_marker("vllm"):
                item.add_marker(pytest.mark.skip(reason="vLLM is not installed here"))
