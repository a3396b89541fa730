"""A node that several processes build: a launcher is started on them, and what the first one made comes back.

What enters: a node whose `runtime.processes` is above 1, and its workspace. What leaves: the stage's draft, or the
error of the process that failed first. No launcher of our own: torchrun by default, or whatever `runtime.launcher`
says, is given the module that each process runs (`stages.policy.ranks.process`). They and this process speak by files
in the workspace, so they may be on other machines that see it; what they tell is read from `events.jsonl` as it grows.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import errors
from stages.core.artifact import KINDS, Draft
from stages.core.errors import R1Error, RecipeError, StageError
from stages.core.fingerprint import plain
from stages.core.recipe.loading import Loaded, stage_module
from stages.core.run.events import Listener
from stages.core.run.runtime import Runtime
from stages.core.storage import disk

PROCESS = "stages.policy.ranks.process"
"""The module that each process runs."""
SAYS = "r1: "
"""How a line of the log begins that a process wrote which could write nothing else."""
LOOK_S = 0.1
GRACE_S = 40.0
"""How long a launcher may take to end the others when one process has failed; torchrun kills after 30 s."""
_LOST = ("connection closed by peer", "connection reset by peer", "connection was likely closed", "gloo", "nccl")
"""Words of an error that says no more than that another process is gone."""


@dataclass(frozen=True)
class Place:
    """The files by which the processes of a launch and who started them speak."""

    folder: Path

    @classmethod
    def of(cls, workspace: Path) -> Place:
        """That of a workspace: in its scratch, which is never sealed."""
        return cls(workspace / "scratch" / "launch")

    @property
    def log(self) -> Path:
        """What the launcher and its processes print."""
        return self.folder / "log.txt"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be alive for the processes to see, for as long as this process lives and the block lasts."""
        with (self.folder / "alive").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def watched(self) -> Iterator[Callable[[], bool]]:
        """Gives a function that says whether who started this launch, and no later one, is still alive."""
        with (self.folder / "alive").open("rb") as file:

            def alive() -> bool:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
                return False

            yield alive

    def note(self, rank: int, **facts: Any) -> None:
        """Add to what is known of a rank: `begun` (seconds since 1970), `host`, `pid`, `ended` (a word), `error`."""
        known = self.known().get(rank, {})
        disk.write_atomically(self.folder / f"rank-{rank}.json", json.dumps(known | facts))

    def fail(self, rank: int, error: BaseException) -> None:
        """Write down why a rank fails, so that `failure` can raise it again."""
        said = {"type": type(error).__name__, "what": str(error), "hint": "", "where": "", "time": time.time()}
        if isinstance(error, R1Error):
            said |= {"what": error.what, "hint": error.hint, "where": error.where}
        self.note(rank, ended="failed", error=said | {"trace": traceback.format_exc()})

    def known(self) -> dict[int, dict[str, Any]]:
        """Rank -> what it wrote down."""
        found = {}
        for path in self.folder.glob("rank-*.json"):
            try:
                found[int(path.stem.removeprefix("rank-"))] = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
        return found

    def keep(self, draft: Draft) -> None:
        """Write down what the first rank made."""
        made = {"kind": draft.kind.kind, "metrics": plain(draft.metrics)}
        disk.write_atomically(self.folder / "draft.json", json.dumps(made))

    def draft(self) -> Draft | None:
        """What the first rank made, where it is done."""
        file = self.folder / "draft.json"
        if not file.is_file():
            return None
        made = json.loads(file.read_text(encoding="utf-8"))
        return Draft(KINDS[made["kind"]], made["metrics"])


def refuse_processes(node: Loaded) -> None:
    """Raise RecipeError where the stage of a node cannot run in as many processes as its runtime asks for."""
    module, asked = stage_module(node.stage), node.runtime.world_size
    if asked == 1:
        return
    if not hasattr(module, "refuse_processes"):
        raise RecipeError(
            f"`{node.name}` runs in one process: r1 {node.stage} cannot share its work among {asked}",
            hint="leave runtime.processes out here; in a pipeline write it for one node, e.g. rl.runtime.processes=2",
        )
    if node.runtime.engine == "vllm" or node.runtime.vllm_server:
        raise RecipeError(
            f"`{node.name}` trains in {asked} processes, and vLLM follows the weights of one",
            hint="leave runtime.engine and runtime.vllm_server out, or runtime.processes",
        )
    if node.runtime.shard and getattr(node.recipe, "optimizer", "adamw") != "adamw":
        what = f"the optimizer {node.recipe.optimizer} cannot hold its states in parts, and runtime.shard asks for them"
        raise RecipeError(what, hint="use `optimizer=adamw`, or leave runtime.shard out")
    module.refuse_processes(node.recipe, asked)


def build(node: Loaded, workspace: Path, home: Path, listener: Listener | None) -> Draft:
    """Let the launcher's processes build a node in its workspace, where `recipe.yaml` says what it is.

    Raises the error of the process that failed first, StageError where one was killed or the launcher itself failed.
    The same call goes on from the last checkpoint.
    """
    refuse_processes(node)
    place = Place.of(workspace)
    shutil.rmtree(place.folder, ignore_errors=True)
    place.folder.mkdir(parents=True)
    tail = _Tail(workspace / "events.jsonl", listener)
    words = command(node.runtime)
    if shutil.which(words[0]) is None:
        shutil.rmtree(place.folder)
        raise RecipeError(
            f"there is no launcher `{words[0]}` here", hint="leave runtime.launcher out: torchrun is used"
        )
    with place.held(), place.log.open("wb") as log:
        process = subprocess.Popen(
            [*words, "-m", PROCESS, str(workspace)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(home),
            start_new_session=True,
        )
        try:
            _follow(process, place, tail)
        finally:
            _end(process)
            tail.read()
    draft = place.draft()
    if process.returncode == 0 and draft is not None:
        return draft
    error = failure(place, node.runtime, process.returncode)
    if isinstance(error, errors.AskedWrongly):
        shutil.rmtree(place.folder)  # refused before any work: nothing is kept
    raise error


def command(runtime: Runtime) -> list[str]:
    """The launcher's own words: those of `runtime.launcher`, else torchrun's for this machine."""
    if runtime.launcher:
        return shlex.split(runtime.launcher)
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={runtime.processes}"]


def environment(home: Path) -> dict[str, str]:
    """What the processes find around them: this environment, the same store, this code before any other `stages`."""
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"R1_HOME": str(home), "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def failure(place: Place, runtime: Runtime, code: int) -> Exception:
    """What went wrong in a launch that ended with this exit code, in a sentence: the first error that is one of its
    own, else which process was killed, else what the launcher said last."""
    known = place.known()
    said = sorted((each["error"]["time"], rank, each["error"]) for rank, each in known.items() if "error" in each)
    own = [(rank, error) for _, rank, error in said if not _lost(error)]
    if own:
        return _as_error(*own[0], alone=len({error["what"] for _, error in own}) > 1 or len(own) < len(known))
    killed = [rank for rank, each in sorted(known.items()) if "ended" not in each]
    resumes = "was memory short? the same command goes on from the last checkpoint"
    if killed and len(known) == runtime.processes:
        named = f"rank {killed[0]} of {runtime.processes} was" if len(killed) < len(known) else "all processes were"
        return StageError(f"{named} killed while `{place.folder.parents[1].name}` was built", hint=resumes)
    if said:
        return _as_error(said[0][1], said[0][2], alone=True)
    lines = [line.strip() for line in _lines(place.log) if line.strip()]
    last = next((line.removeprefix(SAYS) for line in lines if line.startswith(SAYS)), lines[-1] if lines else "nothing")
    what = f"the launcher ended with exit code {code} after {len(known)} of {runtime.processes} processes had begun"
    return StageError(f"{what}; it said: {last[:300]}", hint=f"its log: {place.log}")


def _lost(error: dict[str, Any]) -> bool:
    return not _kind(error) and any(word in error["what"].lower() for word in _LOST)


def _kind(error: dict[str, Any]) -> type[R1Error] | None:
    found = getattr(errors, error["type"], None)
    return found if isinstance(found, type) and issubclass(found, R1Error) else None


def _as_error(rank: int, error: dict[str, Any], *, alone: bool) -> Exception:
    """The error of a rank as it was; which rank it was is said where not all failed alike."""
    kind, who = _kind(error), f"rank {rank}: " if alone else ""
    if kind is not None:
        return kind(who + error["what"], hint=error["hint"], where=error["where"])
    told = RuntimeError(f"{who}{error['type']}: {error['what']}")
    told.add_note(error["trace"])
    return told


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []


def _follow(process: subprocess.Popen[bytes], place: Place, tail: _Tail) -> None:
    """Pass on what is told until the launcher ends; one that does not when a process has failed is ended."""
    failed: float | None = None
    while process.poll() is None:
        tail.read()
        if failed is None and _somebody_failed(place):
            failed = time.monotonic()
        if failed is not None and time.monotonic() - failed > GRACE_S:
            return
        time.sleep(LOOK_S)


def _somebody_failed(place: Place) -> bool:
    return any("error" in each or ("ended" not in each and _gone(each)) for each in place.known().values())


def _gone(rank: dict[str, Any]) -> bool:
    """Whether a process of this machine is no more."""
    if rank.get("host") != socket.gethostname():
        return False
    try:
        os.kill(rank["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a launcher that still runs, and wait for it: it is asked, and killed when it does not listen."""
    for asked, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, asked)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


class _Tail:
    """What is appended to an event file from now on, line by line, for a listener."""

    def __init__(self, file: Path, listener: Listener | None) -> None:
        self._file, self._listener = file, listener
        self._at, self._rest = file.stat().st_size, b""

    def read(self) -> None:
        """Pass on the whole lines that have come."""
        if self._file.stat().st_size == self._at:
            return
        with self._file.open("rb") as file:
            file.seek(self._at)
            came = file.read()
        self._at += len(came)
        *lines, self._rest = (self._rest + came).split(b"\n")
        for line in lines:
            if self._listener is not None and line.strip():
                self._listener(json.loads(line))
