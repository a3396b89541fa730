"""Open and shut a vLLM inside this process, and leave the process as it was found.

A model's folder and a few settings enter, vLLM's own engine leaves, ready to be stepped. vLLM is made for a process of
its own: imported into a trainer's it moves the random state, replaces `torch.set_num_threads`, freezes the garbage
collector's heap, talks on both streams and keeps its memory when it is dropped. What undoes that stands here, and
nowhere else, as do the environment variables.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import logging
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch

from stages.core.errors import EngineError
from stages.core.run.versions import VLLM_DISTRIBUTIONS, VLLM_RANGE
from stages.policy.models import families
from stages.policy.models.reading import read_config

FORCED = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # weights are handed over as tensors, not by a child's mailbox
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # one sampler on every device: the one that the tests run
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # one token more than the model holds: see `open_vllm`
}
CHOSEN = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # threads are runtime.threads' affair
}
"""Environment variables that a user's own word goes before."""
CPU_CACHE = 1 << 30
"""Bytes of keys and values on a CPU, at least; VLLM_CPU_KVCACHE_SPACE (GiB) goes before it."""
CPU_TOKENS = 1 << 16
"""Prompt tokens in one forward pass on a CPU: without chunked prefill it also bounds a prompt."""
ROWS = {"cpu": 512, "cuda": 256}
"""Requests that run together."""
SWITCH = "use `runtime.engine=transformers`, which needs no vLLM; VLLM_LOGGING_LEVEL=INFO shows what vLLM tells"

_open: list[Any] = []


def refuse_absent() -> None:
    """Raise EngineError where vLLM is not installed, or in a version that nobody tried."""
    from packaging.specifiers import SpecifierSet

    for name in VLLM_DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found = importlib.metadata.version(name)
            if SpecifierSet(VLLM_RANGE).contains(found, prereleases=True):
                return
            what = f"{name} {found} is installed, and r1 was tried with vllm{VLLM_RANGE} alone"
            raise EngineError(what, hint=f"pip install 'vllm{VLLM_RANGE}', or use `runtime.engine=transformers`")
    raise EngineError("vLLM is not installed", hint="pip install 'r1[vllm]', or use `runtime.engine=transformers`")


def announce() -> None:
    """Set the environment that vLLM reads when it is first imported."""
    os.environ.update(FORCED)
    for name, value in CHOSEN.items():
        os.environ.setdefault(name, value)


def open_vllm(folder: Path, *, dtype: str, device: str, longest: int, memory: float) -> Any:
    """Load a model's folder into a vLLM engine (`vllm.v1.engine.llm_engine.LLMEngine`) of this process.

    `longest`: tokens of prompt and completion together. `memory`: share of a GPU's memory for weights and cache; on a
    CPU the cache takes CPU_CACHE. Raises EngineError for a model or a device that vLLM cannot do.
    """
    refuse_absent()
    announce()
    with _undisturbed(), own_random_state(), _logged() as causes:
        try:
            engine = _built(device, settings(folder, dtype, device, longest, memory))
            engine.collective_rpc(_keep_logprobs_before_top_p)
        except Exception as error:
            why = told(error) + (f": {causes[-1]}" if causes else "")
            raise EngineError(f"vLLM cannot open `{folder.name}`: {why}", hint=SWITCH) from error
    _open.append(engine)
    logging.getLogger("transformers.training_args").addFilter(_no_launcher)
    return engine


def shut(engine: Any) -> None:
    """Give back an engine's memory; with the last one goes what vLLM keeps for the whole process.

    vLLM's own shutdown takes the process groups of every engine along, and so does dropping one.
    """
    _open[:] = [other for other in _open if other is not engine]
    client = engine.engine_core
    with _undisturbed():
        if not _open:
            client.shutdown()
        else:
            client._finalizer.detach()
            client.engine_core.model_executor.shutdown()
            client.engine_core.scheduler.shutdown()
        gc.collect()


def positions(folder: Path, most: int) -> int:
    """Tokens of prompt and completion that vLLM computes as the model does, of `most`: where rotary frequencies change
    at a length (longrope), vLLM takes those of the longest row it may get for every row, so it may get none beyond."""
    border = families.rope_border(read_config(folder))
    return most if border > most else int(border) - 1  # one is left free: see `settings`


def cache_bytes(folder: Path, tokens: int) -> int:
    """Bytes that the keys and values of `tokens` tokens take in float32; 0 for a model without attention."""
    config = read_config(folder).get_text_config()
    queries = families.value(config, "num_attention_heads")
    if not queries:
        return 0
    width = families.value(config, "head_dim") or config.hidden_size // queries
    heads = families.value(config, "num_key_value_heads") or queries
    blocks = -(-tokens // 32) + 1
    return int(config.num_hidden_layers * 2 * heads * width * 4 * blocks * 32)


def told(error: BaseException) -> str:
    """What a library's error says: its first sentence, without its type's decoration."""
    text = str(error) or type(error).__name__
    if isinstance(error, KeyError):
        text = f"it knows no {text}"
    _, found, rest = text.partition("Value error, ")  # pydantic's: a header, this, and a link
    line = (rest if found else text).partition(" [type=")[0].strip().partition("\n")[0]
    return line.partition(". ")[0].rstrip(".")[:300]


@contextlib.contextmanager
def own_random_state() -> Iterator[None]:
    """Keep the process's random states (Python, NumPy, torch) as they are around what would move them."""
    python, array = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_initialized() else []):
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(array)


def settings(folder: Path, dtype: str, device: str, longest: int, memory: float) -> dict[str, Any]:
    config = read_config(folder)
    # vLLM always leaves room for one token after a prompt: with one more than there is, a text as long as the model can
    # hold may still be read. `VllmEngine` refuses whoever would sample it.
    settings: dict[str, Any] = {
        "model": str(folder),
        "skip_tokenizer_init": True,
        "generation_config": "vllm",  # the folder's own would decide temperature, top-k and ends
        "dtype": dtype,
        "max_model_len": longest + 1,
        "max_num_seqs": ROWS[device.partition(":")[0]],
        "logprobs_mode": "processed_logprobs",
        "max_logprobs": -1,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if device == "cpu":
        settings |= {
            "enable_prefix_caching": not families.own_cache(config),  # states are only shared with chunked prefill
            "enforce_eager": True,
            "block_size": 32,  # with the default of 128 a prompt below that never shares
            "enable_chunked_prefill": False,  # with it a seeded request ends the engine: no offset in CPU generators
            "max_num_batched_tokens": max(longest + 1, CPU_TOKENS),
            "kv_cache_memory_bytes": max(CPU_CACHE, cache_bytes(folder, longest + 1)),
        }
    else:
        settings |= {"enable_prefix_caching": True, "gpu_memory_utilization": memory}
    return settings


def _built(device: str, settings: dict[str, Any]) -> Any:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.llm_engine import LLMEngine

    _leave_classes()
    kind = device.partition(":")[0]
    if current_platform.device_type != kind:
        raise ValueError(f"this build of it runs on {current_platform.device_type or 'no device here'}, not on {kind}")
    return LLMEngine.from_engine_args(EngineArgs(**settings))


def _leave_classes() -> None:
    """Let vLLM's door for transformers' own classes (SmolLM3, OLMo) use them as they are: it would change the class
    itself for torch.compile, and every other model of it in this process, the trainer's too, would fail in its next
    forward pass."""
    from vllm.model_executor.models.transformers import base

    base.Base._decorate_cls_for_torch_compile = lambda *_, **__: None


def _no_launcher(record: logging.LogRecord) -> bool:
    """Drop a trainer's advice to use a launcher: the process group that it sees is vLLM's, of this process alone."""
    return "process group is initialized" not in record.getMessage()


def _keep_logprobs_before_top_p(worker: Any) -> None:
    """Let the sampler report log-probabilities at the temperature over the whole vocabulary.

    Its mode `processed_logprobs` is that for top-p 1; below, it is of what top-p left, which no trainer computes again.
    """
    sampler = worker.model_runner.sampler.topk_topp_sampler
    draw = sampler.forward

    def forward(logits: Any, generators: Any, k: Any, p: Any) -> tuple[Any, Any]:
        whole = None if p is None else logits.log_softmax(-1, dtype=torch.float32)  # `draw` writes into the logits
        drawn, processed = draw(logits, generators, k, p)
        return drawn, processed if whole is None else whole

    sampler.forward = forward


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep torch's threads, the collector's heap and stderr from what opening and shutting do to them."""
    threads = torch.set_num_threads
    with warnings.catch_warnings(), _silent_stderr():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            torch.set_num_threads = threads
            gc.unfreeze()


@contextlib.contextmanager
def _logged() -> Iterator[list[str]]:
    """Keep the last line of each error that vLLM logs: what it raises afterwards may only say that it logged one."""
    importlib.import_module("vllm.logger")  # it sets the logger up anew

    causes: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            lines = str(error or record.getMessage()).strip().splitlines()
            causes.extend(lines[-1:])

    keep = Keep(logging.ERROR)
    logging.getLogger("vllm").addHandler(keep)
    try:
        yield causes
    finally:
        logging.getLogger("vllm").removeHandler(keep)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hold back what C++ and early loggers write to stderr; should the block raise, it is written after all where the
    user set vLLM's own level of logging."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            if os.environ["VLLM_LOGGING_LEVEL"] != CHOSEN["VLLM_LOGGING_LEVEL"]:
                os.write(kept, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
