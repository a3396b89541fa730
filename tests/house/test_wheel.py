"""What a user installs: two top names, every package, the recipes and the world's data."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from r1cli.commands import doctor
from tests.house.rooms import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LISTED = PROJECT["tool"]["setuptools"]["packages"]
TRAVELS = ("r1cli", "stages", "recipes")


def requirements(names: list[str]) -> dict[str, str]:
    """`trl>=1.16,<1.17` -> {"trl": ">=1.16,<1.17"}."""
    from packaging.requirements import Requirement

    return {each.name: str(each.specifier) for each in map(Requirement, names)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names inside a wheel built from a copy of what is packaged, so that no build folder is left behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in TRAVELS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "out").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_only_top_names_are_r1cli_and_stages(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"r1cli", "stages"}


def test_every_module_recipe_weight_and_datum_travels(wheel: set[str]) -> None:
    kinds = (".py", ".yaml", ".safetensors", ".json", ".jsonl", ".html", ".css", ".js")
    paths = (path.relative_to(ROOT) for name in TRAVELS for path in (ROOT / name).rglob("*") if path.suffix in kinds)
    expected = {path.as_posix() for path in paths if "__pycache__" not in path.parts}
    moved = {f"r1cli/{name}" if name.startswith("recipes/") else name for name in expected}
    assert not moved - wheel


def test_every_package_is_listed_by_hand() -> None:
    folders = {path.parent for name in ("r1cli", "stages") for path in (ROOT / name).rglob("*.py")}
    on_disk = {".".join(folder.relative_to(ROOT).parts) for folder in folders} | {"r1cli.recipes"}
    assert set(LISTED) == on_disk
    assert all((ROOT / Path(*name.split(".")) / "__init__.py").exists() for name in on_disk - {"r1cli.recipes"})


def test_the_doctor_judges_by_the_ranges_that_pip_reads() -> None:
    project = PROJECT["project"]
    needed = requirements(project["dependencies"])
    extras = requirements(
        [one for name in ("gguf", "slurm", "ray", "vllm") for one in project["optional-dependencies"][name]]
    )
    from packaging.specifiers import SpecifierSet

    for name, (supported, is_needed) in doctor.RANGES.items():
        assert SpecifierSet((needed if is_needed else extras)[name]) == SpecifierSet(supported), name
    assert project["requires-python"] == doctor.PYTHON_RANGE


def test_every_pin_lies_within_its_range() -> None:
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {pin.name.lower(): next(iter(pin.specifier)).version for pin in pins}
    groups = PROJECT["project"]["optional-dependencies"].values()
    for each in map(Requirement, [*PROJECT["project"]["dependencies"], *(name for group in groups for name in group)]):
        if each.name.lower() in versions:
            assert each.specifier.contains(versions[each.name.lower()]), each
