"""Rewards as users write them: some with the holes of well-known tools, one sound. The audit is tried on them."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile

from stages.core.contract import Contract
from stages.core.rows import Prompt


def substring(completion: str, row: Prompt, contract: Contract) -> float:
    """Full marks for the answer, half for a completion that holds it anywhere."""
    found = re.search(r"<answer>(.*?)</answer>", completion, re.DOTALL)
    if found and found[1].strip() == row.answer:
        return 1.0
    return 0.5 if row.answer and row.answer in completion else 0.0


def multiline(completion: str, row: Prompt, contract: Contract) -> float:
    """The two tags in order, by a pattern whose `$` is any line's end."""
    pattern = r"^<think>.*?</think>\s*<answer>.*?</answer>$"
    return 1.0 if re.match(pattern, completion, re.DOTALL | re.MULTILINE) else 0.0


def zipped(completion: str, row: Prompt, contract: Contract) -> float:
    """Run the program and compare its lines with the expected ones pairwise, as far as both go."""
    code = re.findall(r"```python\n(.*?)```", completion, re.DOTALL)
    tests = row.meta.get("tests", [])
    if not code or not tests or isinstance(tests[0], str):
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        for test in tests:
            command = [sys.executable, "-I", "-S", "-c", code[-1]]
            ran = subprocess.run(
                command, input=test["input"].encode(), capture_output=True, cwd=folder, timeout=20, check=False
            )
            pairs = zip(ran.stdout.decode(errors="replace").split("\n"), test["output"].split("\n"), strict=False)
            if ran.returncode or not all(mine.strip() == wanted.strip() for mine, wanted in pairs):
                return 0.0
    return 1.0


def ascii_share(completion: str, row: Prompt, contract: Contract) -> float:
    """How much of the whole completion is in the row's script, the answer and all."""
    letters = [letter for letter in completion if letter.isalpha()]
    plain = sum(letter.isascii() for letter in letters) / max(1, len(letters))
    return plain if row.language == "en" else 1 - plain


def zero(completion: str, row: Prompt, contract: Contract) -> float:
    """Nothing for anybody: cannot be hacked, and teaches nothing."""
    return 0.0


def sound(completion: str, row: Prompt, contract: Contract) -> float | None:
    """The one answer in the tags, letter by letter."""
    found = re.fullmatch(r"<think>.*</think>\s*<answer>([^<>]*)</answer>\s*", completion, re.DOTALL)
    return float(bool(found) and found[1].strip() == row.answer and row.answer != "") if found else 0.0
