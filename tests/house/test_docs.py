"""The documents say what is true: help is pasted as it is printed, and no path of one machine is left in them."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.house.rooms import ROOT

# Homes, scratch folders and work folders of whoever wrote the page: nobody else has them.
MACHINE_PATHS = re.compile(r"(?<![\w.~$}])/(?:home|Users|root|work|tmp|mnt|opt|farm)/[\w.-]+")


def pages() -> list[str]:
    folders = [ROOT, ROOT / "docs", ROOT / "recipes"]
    found = [path for folder in folders for path in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def test_the_readme_shows_the_help_as_it_is_printed() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- help -->\s*```\w*\n(.*?)```", readme, re.DOTALL)
    assert block, "README.md lacks a fenced block after <!-- help -->"
    command = [sys.executable, "-m", "r1cli", "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    shown = block.group(1).removeprefix("$ r1 --help\n")
    assert [line.rstrip() for line in shown.strip().splitlines()] == [
        line.rstrip() for line in printed.strip().splitlines()
    ], "paste the output of `COLUMNS=80 r1 --help` into README.md"


def test_no_document_names_a_path_of_one_machine() -> None:
    wrong = []
    for page in pages():
        for count, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
            wrong += [f"{page}:{count} {found.group()}" for found in MACHINE_PATHS.finditer(line)]
    assert not wrong, "\n".join(wrong)


def test_the_documents_name_no_missing_file() -> None:
    wrong = []
    for page in pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
            if not ((ROOT / page).parent / target).exists():
                wrong.append(f"{page} links to {target}")
    assert not wrong, "\n".join(wrong)


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    unreachable = [path.name for path in (ROOT / "docs").glob("*.md") if f"](docs/{path.name}" not in readme]
    assert not unreachable, f"README.md links to no {', '.join(unreachable)}"
