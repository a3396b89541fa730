"""The program in a completion: a completion, its row and the contract's tags enter; source and language leave.

The program is the last fenced block of the final part (after the thinking; of the last answer span where there is
one) that names a language we can run; where none does, the last that names no language. Blocks of other languages
(output, shell) are passed over. A Python block that only uses what the block before it defines is the rest of it, or
an example of its use. An answer without any fence is the program itself. Linear time: a few passes over lines.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.core.text import final_part, spans
from stages.rewards.programs.bubblewrap import PYTHON_FLAGS
from stages.rewards.programs.sandbox import Job, Limits, compiler, interpreter

LANGUAGES = ("python", "cpp")
NAMES = {"python": "Python", "cpp": "C++"}
_FENCES = {"python": "python", "py": "python"}
_FENCES |= dict.fromkeys(("cpp", "c++", "cc", "cxx", "cpp17", "cpp20", "c++17", "c++20"), "cpp")
_NAME_ENDS = re.compile(r"[\s:{,]")
_VERSION = re.compile(r"^(py|python)[\d.]+$")
NO_COMPILER = "no C++ compiler here: install g++ or clang++"
MAX_CHARACTERS = 2**20
COMPILING = Limits(cpu_s=30.0, memory_mb=2048, output_bytes=2**20, idle_s=8.0, wall_s=600.0)
_DEFINES = re.compile(r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)", re.MULTILINE)
_BINDS = re.compile(r"^(?:from[ \t]+\S+[ \t]+)?import[ \t].*|^(\w+)[ \t]*=(?!=)|^(?:for|with)[ \t].*", re.MULTILINE)
_CALLS = re.compile(r"(?<![\w.])([A-Za-z_]\w*)[ \t]*\(")
_INPUT = re.compile(r"\binput[ \t]*\(|\bstdin\b|\bopen[ \t]*\([ \t]*0")
_ACTS = re.compile(r"^(?!(?:async|def|class|import|from)\b)[A-Za-z_](?!\w*[ \t]*(?::[^=\n]*)?=(?!=))", re.MULTILINE)
_COMPILE_PYTHON = "import sys; compile(open(sys.argv[1], 'rb').read(), sys.argv[1], 'exec', dont_inherit=True)"


class Source(NamedTuple):
    """A program; `fault` says why there is none, "" when there is."""

    text: str
    language: str
    fault: str = ""
    standard: str = "c++17"


def find(completion: str, row: Prompt, contract: Contract, *, called: bool = False) -> Source:
    """Return the program a completion commits to, in the language of the row's `meta["code_language"]`, else of its
    fence, else Python. `called`: tests call its functions, and do not look at what it prints. Raises ValueError for a
    row's language that cannot be run.
    """
    wanted = str(row.meta.get("code_language") or "")
    wanted = _FENCES.get(_VERSION.sub(r"\1", wanted.strip().lower().replace(" ", "")), wanted)
    if wanted and wanted not in LANGUAGES:
        raise ValueError(f"unknown code language `{wanted[:30]}`: one of {', '.join(LANGUAGES)}")
    final = final_part(contract.prefill + completion, contract.think_tags, contract.answer_tags)
    if final is None:
        return Source("", wanted, f"no program: {contract.think_tags[0]} not closed")
    answers = spans(final, contract.answer_tags)
    if answers:
        final = final[answers[-1].start : answers[-1].end]
    blocks, fenced = _blocks(final)
    if not fenced:
        blocks = [("", final)]
    usable = [block for block in blocks if block[0] in _FENCES] or [block for block in blocks if not block[0]]
    if not usable:
        return Source("", wanted, "no program: no fenced block in a language that can be run")
    name, text = usable[-1]
    spoken = _FENCES.get(name, wanted or "python")
    if spoken == "python":
        text = _joined([each for _, each in usable if _FENCES.get(_, "python") == "python"], called)
    if wanted and spoken != wanted:
        return Source("", wanted, f"the program is {NAMES[spoken]}, {NAMES[wanted]} was asked for")
    if not text.strip():
        return Source("", spoken, "no program: it is empty")
    if len(text) > MAX_CHARACTERS:
        return Source("", spoken, f"no program: longer than {MAX_CHARACTERS} characters")
    return Source(text, spoken, standard="c++20" if name.endswith("20") else "c++17")


def _joined(blocks: list[str], called: bool) -> str:
    """Return the program in Python blocks: the last; with the one before it where it calls what that one defines; that
    one alone where the last shows how to use it."""
    last = blocks[-1]
    for before in reversed(blocks[:-1]):
        if last.lstrip().startswith(">>>"):
            return before
        own = set(_DEFINES.findall(last))
        if not (set(_CALLS.findall(last)) & set(_DEFINES.findall(before))) - own - set(_BINDS.findall(last)):
            continue
        acts, reads = _ACTS.search(before) is not None, _INPUT.search(last) is not None
        if not own and not reads and (called or acts):
            return before
        return last if acts else f"{before}\n\n{last}"
    return last


def _blocks(text: str) -> tuple[list[tuple[str, str]], bool]:
    """Return the fenced blocks as (language named, content), and whether any fence opens; the last may be cut off."""
    blocks: list[tuple[str, str]] = []
    fence, name, inside, fenced, indent = "", "", list[str](), False, 0
    for line in text.split("\n"):
        bare = line.strip()
        run = len(bare) - len(bare.lstrip(bare[0])) if bare[:3] in ("```", "~~~") else 0
        before = len(line) - len(line.lstrip())
        if not fence:
            if run:
                fence, name, inside, fenced = bare[:run], bare[run:].strip().lower(), [], True
                name = _NAME_ENDS.split(name.removeprefix("{").removeprefix(".").removesuffix("}"), maxsplit=1)[0]
                name = _VERSION.sub(r"\1", name)
                indent = before
        elif run >= len(fence) and bare[0] == fence[0] and run == len(bare) and before <= indent + 3:
            blocks.append((name, "\n".join(inside)))
            fence = ""
        else:
            inside.append(line[min(indent, before) :])  # a fence in a list is indented, and what it holds too
    if fence:
        blocks.append((name, "\n".join(inside)))
    return blocks, fenced


def content(source: Source) -> bytes:
    """Return the program as the bytes of its file; what no encoding has (lone surrogates) makes it no program."""
    return source.text.encode("utf-8", "surrogatepass")


def job(source: Source, cases: list[bytes], *, stop_after: int) -> Job | None:
    """Return the job that runs a program on inputs, built first where its language asks for it; None when this
    machine has no compiler for it."""
    if source.language == "python":
        command = (interpreter(), *PYTHON_FLAGS, "main.py")
        return Job(command=command, files={"main.py": content(source)}, cases=cases, stop_after=stop_after)
    tool = compiler()
    if tool is None:
        return None
    return Job(
        command=("./main",),
        files={"main.cpp": content(source)},
        cases=cases,
        build=(tool, f"-std={source.standard}", "-O2", "-w", "-o", "main", "main.cpp"),
        build_limits=COMPILING,
        keep=("main",),
        stop_after=stop_after,
    )


def compile_job(source: Source) -> Job | None:
    """Return the job that only compiles: Python to bytecode, C++ to a program; None where there is no compiler."""
    if source.language == "python":
        command = (interpreter(), *PYTHON_FLAGS, "-c", _COMPILE_PYTHON, "main.py")
        return Job(command=command, files={"main.py": content(source)})
    tool = compiler()
    command = (tool or "", f"-std={source.standard}", "-w", "-o", "main", "main.cpp")
    return Job(command=command, files={"main.cpp": content(source)}) if tool else None
