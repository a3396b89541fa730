"""`r1 launch slurm`: a recipe and the size of a job enter, a job of the cluster leaves that runs the same r1 command.

submitit writes the script, submits it and submits it again when its time is up; what was done then goes on from the
last checkpoint. Several nodes are one launch: r1 runs on the first, and starts torchrun on all through srun.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1cli.options import Debug, DryRun, Json, Overrides, bundled_recipes
from r1cli.view import Screen

if TYPE_CHECKING:
    from stages.core.recipe.loading import Loaded

EXAMPLE = "Example: r1 launch slurm r1_zero --nodes 2 --gpus 4 --hours 24 --dry-run"
PORT = 29500
"""Where the first node of several listens."""
RAISED = "RuntimeError: "
"""How the line of a traceback begins that says why a job failed."""
SIGNAL_S = 120
"""How long before its end a job is told to make room for its successor."""

app = typer.Typer(help="Run a recipe as a job of a cluster.", epilog=EXAMPLE, no_args_is_help=True)


@app.command("slurm", epilog=EXAMPLE)
def slurm(
    recipe: Annotated[str, typer.Argument(help="A path, or a bundled name.", autocompletion=bundled_recipes)],
    overrides: Overrides = None,
    *,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="GPUs of each machine; 0 = none.")] = 0,
    hours: Annotated[int, typer.Option("--hours", min=1, help="Longest time of one job; the next goes on.")] = 24,
    option: Annotated[
        list[str] | None, typer.Option("--slurm", help="More for sbatch, e.g. --slurm partition=long; may be repeated.")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Run here, in a process of its own, and wait.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Submit a recipe as a SLURM job that resumes until it is done; --dry-run shows the script."""
    from stages.core.errors import MissingError, RecipeError

    screen, asked = Screen(as_json), Job(command(recipe, overrides or [], nodes, gpus), nodes, gpus)
    more = dict(text.partition("=")[::2] for text in option or [])
    if "" in more.values():
        raise RecipeError("what goes to sbatch is written key=value", hint="e.g. --slurm partition=long")
    try:
        import submitit
    except ImportError as error:
        raise MissingError("the package `submitit` is not installed", hint="pip install 'r1[slurm]'") from error
    if dry_run:
        script = _script(asked, hours, more)
        screen.say(script)
        screen.data({"script": script, "command": asked.words})
        return
    executor = _executor(submitit, asked, hours, more, local=local)
    job = executor.submit(asked)
    log = str(job.paths.stdout)
    screen.say(f"job {job.job_id}: {' '.join(asked.words)}\nits log: {log}")
    if local:
        _finished(submitit, job)
    screen.data({"job": job.job_id, "log": log, "command": asked.words})


class Job:
    """What the job runs: an r1 command, in a process that is ended before the job is submitted again."""

    def __init__(self, words: list[str], nodes: int, gpus: int) -> None:
        self.words, self.nodes, self.gpus = words, nodes, gpus

    def __call__(self) -> int:
        """Run the command; raises RuntimeError where it fails. Its words stand in the job's log."""
        self.running = subprocess.Popen([sys.executable, "-P", "-m", "r1cli", *self.words, *self.launcher()])
        code = self.running.wait()
        if code:
            raise RuntimeError(f"r1 ended with exit code {code}; what it said stands above, in the job's log")
        return code

    def checkpoint(self) -> Any:
        """End the command in time and let the same job be submitted again: submitit calls this inside the `wait` of
        the call, whose lock another `wait` would never get."""
        from submitit.helpers import DelayedSubmission

        self.running.terminate()
        os.waitid(os.P_PID, self.running.pid, os.WEXITED | os.WNOWAIT)
        del self.running
        return DelayedSubmission(self)

    def launcher(self) -> list[str]:
        """The words that start torchrun on several nodes, the first of which listens; none for one node."""
        if self.nodes == 1:
            return []
        listed = os.environ["SLURM_JOB_NODELIST"]
        shown = subprocess.run(["scontrol", "show", "hostnames", listed], capture_output=True, text=True, check=True)
        where, job = shown.stdout.split()[0], os.environ["SLURM_JOB_ID"]
        return [
            "--launcher",
            f"srun --nodes={self.nodes} --ntasks-per-node=1 torchrun --nnodes={self.nodes} "
            f"--nproc-per-node={self.gpus or 1} --rdzv-backend=c10d --rdzv-id={job} --rdzv-endpoint={where}:{PORT}",
        ]


def command(recipe: str, overrides: list[str], nodes: int, gpus: int) -> list[str]:
    """The r1 command of a recipe on machines of this size, with as many processes as there are GPUs or, without any,
    machines. Raises what reading the recipe raises, and RecipeError for a node that cannot run in so many processes, or
    a pipeline on more than one machine whose nodes all run in one."""
    from r1cli.commands.recipes import is_pipeline, load_any
    from stages.core.errors import RecipeError
    from stages.core.recipe.loading import find_recipe
    from stages.core.run.launch import refuse_processes

    path, count = find_recipe(recipe), nodes * max(gpus, 1)
    if is_pipeline(path):
        known: list[Loaded] = load_any(recipe, overrides)
        if nodes > 1 and all(node.runtime.world_size == 1 for node in known):
            raise RecipeError(
                f"{nodes} machines are asked for, and no node of the pipeline runs in several processes",
                hint=f"add e.g. {known[-1].name}.runtime.processes={count}",
            )
        for node in known:
            refuse_processes(node)
        return ["pipeline", "--recipe", str(path), *overrides]
    given = any(text.startswith("runtime.processes=") for text in overrides)
    words = [*overrides, *([f"runtime.processes={count}"] if count > 1 and not given else [])]
    (known_one,) = load_any(recipe, words)
    refuse_processes(known_one)
    return [known_one.stage, "--recipe", str(path), "--name", known_one.name, *words]


def _parameters(asked: Job, hours: int, more: dict[str, str]) -> dict[str, Any]:
    """submitit's own words for SLURM: one task, on the first machine, which starts the others itself."""
    size = {"gpus_per_node": asked.gpus} if asked.gpus else {}
    return {
        "job_name": f"r1-{asked.words[0]}",
        "nodes": asked.nodes,
        "ntasks_per_node": 1,
        "time": 60 * hours,
        "signal_delay_s": SIGNAL_S,
        "use_srun": False,
        "additional_parameters": more,
        **size,
    }


def _executor(submitit: Any, asked: Job, hours: int, more: dict[str, str], *, local: bool) -> Any:
    """submitit's executor for this cluster, or for this machine. Raises MissingError where there is no SLURM."""
    from stages.core.errors import MissingError

    if local:
        made = submitit.AutoExecutor(folder=_logs(), cluster="local")
        made.update_parameters(timeout_min=60 * hours, nodes=1, tasks_per_node=1)
        return made
    try:
        made = submitit.SlurmExecutor(folder=_logs())
    except RuntimeError as error:
        hint = "--dry-run shows the script; --local runs it here"
        raise MissingError("there is no SLURM on this machine", hint=hint) from error
    made.update_parameters(**_parameters(asked, hours, more))
    return made


def _finished(submitit: Any, job: Any) -> None:
    """Wait for a job. Raises StageError where its command failed, or it was killed."""
    from stages.core.errors import StageError

    errors = submitit.core.utils
    try:
        job.result()
    except (errors.FailedJobError, errors.UncompletedJobError) as error:
        lines = str(error).strip().splitlines()
        ours = [line.removeprefix(RAISED) for line in lines if line.startswith(RAISED)]
        raise StageError(
            f"job {job.job_id} failed: {(ours or lines)[0]}", hint=f"its log: {job.paths.stderr}"
        ) from error


def _script(asked: Job, hours: int, more: dict[str, str]) -> str:
    """The sbatch script, as submitit will write it; which job it runs is a file that it names when it is submitted."""
    from submitit.slurm.slurm import _make_sbatch_string

    folder = _logs()
    words = f"{sys.executable} -u -m submitit.core._submit {folder}"
    script: str = _make_sbatch_string(command=words, folder=folder, **_parameters(asked, hours, more))
    return script


def _logs() -> Path:
    from stages.core.storage.store import Store

    return Store().home / ".jobs"
