"""What llama.cpp asks a sealed model: `python -m tests.bench.llamacpp SOURCES LIBRARIES [FOLDER …]`, some minutes.

SOURCES is llama.cpp's tree and LIBRARIES the folder of its shared libraries, as `pip install llama-cpp-python` in an
environment of its own leaves them (`vendor/llama.cpp` of its source archive, and `site-packages/lib`; cmake and a C++
compiler build them in a quarter of an hour). Each sealed folder is converted to GGUF by llama.cpp's own script, and
messages are rendered and encoded by the functions that its server uses: the ids must be the contract's, and the ends
its ends. Without a folder one of each style of template is made. It ends with 1 where one differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.core import templates
from stages.core.contract import Contract
from stages.policy.models import folders
from stages.world import sources
from tests.policy import sealing

CONVERT = """
import sys
import conversion.base
name = sys.argv.pop()
conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: name
import convert_hf_to_gguf
convert_hf_to_gguf.main()
"""
"""llama.cpp knows a tokenizer by a hash of its ids: one with words of its own has none, so what cuts it is named."""
PROGRAM = Path(__file__).with_suffix(".cpp")


def built(tree: Path, libraries: Path, home: Path) -> Path:
    """The program that asks as llama.cpp's server does."""
    include = [f"-I{tree / name}" for name in ("common", "include", "ggml/include", "vendor")]
    names = [f"-l{name}" for name in ("llama-common", "llama", "ggml", "ggml-base")]
    linked = [f"-L{libraries}", *names, f"-Wl,-rpath,{libraries.resolve()},--disable-new-dtags"]
    subprocess.run(["g++", "-std=c++17", str(PROGRAM), *include, *linked, "-o", str(home / "ask")], check=True)
    return home / "ask"


def converted(tree: Path, folder: Path, file: Path) -> Path:
    """A sealed folder as GGUF, its words alone."""
    command = [sys.executable, "-c", CONVERT, str(folder), "--vocab-only", "--outfile", str(file), pre(folder)]
    path = {"PYTHONPATH": f"{tree}:{tree / 'gguf-py'}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=path, cwd=file.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"llama.cpp converts no such folder: {done.stderr.strip().splitlines()[-1]}")
    return file


def pre(folder: Path) -> str:
    """What llama.cpp calls the way in which a tokenizer cuts text before it joins letters."""
    cut = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["pre_tokenizer"]
    return "qwen2" if "Split" in json.dumps(cut) else "gpt-2"


def compared(ask: Path, file: Path, folder: Path) -> Iterator[str]:
    """A line for each way of asking that llama.cpp does otherwise."""
    ends, words = set(Contract.read(folder).eos_ids), folders.load_tokenizer(folder)
    cases = list(sealing.asked(folder))
    given = "".join(json.dumps(messages) + "\n" for messages, _ in cases)
    done = subprocess.run([str(ask), str(file)], input=given, capture_output=True, text=True, check=True)
    for (messages, wanted), line in zip(cases, done.stdout.splitlines(), strict=True):
        found: dict[str, Any] = json.loads(line)
        if found.get("ids") != wanted:
            other = words.decode(found["ids"]) if "ids" in found else found["error"]
            yield f"{[turn['role'] for turn in messages]}: {words.decode(wanted)!r} is asked as {other!r}"
        if not ends <= set(found["ends"]):
            yield f"{sorted(ends - set(found['ends']))} end nothing there"


def made(home: Path) -> Iterator[Path]:
    """A sealed model of each style and kind of template, and the embedded base."""
    yield from (sealing.sealed(case, home / case.name) for case in sealing.CASES)
    sources.fetch("world:base", "model", home / "world-base")
    folder = home / "world-base"
    words, agreed = folders.load_tokenizer(folder), templates.with_template(Contract.read(folder), "r1_zero")
    folders.save_model(folders.load_model(folder), words, agreed, home / "world-base-r1_zero")
    yield home / "world-base-r1_zero"


def main() -> None:
    """Print a line for each folder, and what differs in it."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    reader.add_argument("sources", type=Path)
    reader.add_argument("libraries", type=Path)
    reader.add_argument("folders", type=Path, nargs="*")
    given = reader.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home, wrong = Path(place), 0
        ask = built(given.sources, given.libraries, home)
        for folder in given.folders or made(home):
            try:
                differing = list(compared(ask, converted(given.sources, folder, home / "model.gguf"), folder))
            except ValueError as error:
                print(f"{folder.name}: {error}")
                continue
            wrong += len(differing)
            print(f"{folder.name}: {'the same ids and ends' if not differing else ''}", *differing, sep="\n  ")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
