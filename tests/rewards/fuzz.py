"""`python -m tests.rewards.fuzz [seconds]`: the rewards under coverage-guided fuzzing by atheris; part of `make fuzz`.

Bytes enter and become a row and a completion (grammar.py); what leaves is the first pair on which a reward raises,
takes over 50 ms of CPU time in this process or more than its limit in a worker, or gives no number in range. What takes
long here, where every line is counted, is measured again by a referee: a plain process, warm, which forks for each
pair, so that nothing is counted and no cache knows it. `--all` goes on after a fault and prints each kind once.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

CPU_S = 0.05  # of CPU time for one judgement
_ASKED = 1 / 50  # share of the symbolic questions that a real worker is asked
_LONGEST = 4000  # characters; other tests have megabytes
_TIMES = 3  # that the referee measures
_SEEDS, _BYTES = 300, 600  # random inputs to begin with, and the longest
_seen: set[str] = set()


class Slow(Exception):
    """A judgement over its limit."""


def judgements(pair: Any) -> dict[str, Callable[[], Any]]:
    """Return every judgement of a pair that is made in process, by name."""
    from stages.rewards import mathematics
    from tests.rewards.contracts import contract, row
    from tests.rewards.test_examples import IN_PROCESS

    of_row = row(pair.gold, pair.verifier, language=pair.language)
    own = contract()
    asked: dict[str, Callable[[], Any]] = {
        "judge": lambda: mathematics.judge(pair.answer, pair.gold, language=pair.language),
        "judge, turned": lambda: mathematics.judge(pair.gold, pair.answer, worked=False),
        "check_gold": lambda: mathematics.check_gold(pair.gold),
        "last_answer": lambda: mathematics.last_answer(pair.completion, pair.gold),
    }
    return asked | {name: lambda one=one: one(pair.completion, of_row, own) for name, one in IN_PROCESS.items()}


def alone() -> None:
    """Let no question leave this process: workers have limits of their own."""
    from stages.rewards.mathematics import symbolic
    from stages.rewards.verdict import Verdict

    symbolic.equal = lambda *_, **__: Verdict(None, "asked of a worker")


def referee() -> None:
    """Answer [pair, judgement], a line each, with the CPU seconds that it takes, the least of three."""
    from tests.rewards.contracts import contract, row
    from tests.rewards.grammar import FRAMES, LANGUAGES, SENTENCES, Pair
    from tests.rewards.test_examples import IN_PROCESS

    alone()
    for language, text in itertools.product(LANGUAGES, (*FRAMES, *SENTENCES)):  # tables are read once
        words = "so 然后 これ 그래서 итак إذن तो donc also entonces então così dus qzxwv ր ԉ"
        IN_PROCESS["language"](text.replace("%s", words), row(language=language), contract())
    for one in judgements(Pair("2\\sqrt{3} m", "\\sin(x) km", "<think>so</think> 3, not 4")).values():
        one()
    for line in sys.stdin:
        fields, name = json.loads(line)
        costs = []
        for _ in range(_TIMES):
            reading, writing = os.pipe()
            if not os.fork():
                start = time.process_time()
                judgements(Pair(*fields))[name]()
                os.write(writing, repr(time.process_time() - start).encode())
                os._exit(0)
            os.close(writing)
            with os.fdopen(reading) as pipe:
                costs.append(float(pipe.read() or "inf"))
            os.wait()
        print(min(costs), flush=True)


class Fuzz:
    """One run: the judgements, and the referee that is asked about slow ones."""

    def __init__(self, *, go_on: bool) -> None:
        command = [sys.executable, "-m", "tests.rewards.fuzz", "--referee"]
        self._referee = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._go_on = go_on
        self.pairs = self.judged = 0

    def one(self, pair: Any) -> None:
        """Make every judgement of a pair; raises what a reward raised, Slow or AssertionError."""
        self.pairs += 1
        for name, asked in judgements(pair).items():
            try:
                self._judged(pair, name, asked)
            except Exception as error:
                kind = f"{name}: {type(error).__name__} {traceback.format_exc().splitlines()[-3].strip()}"
                if kind not in _seen:
                    print(f"\nFAULT {kind}\n  {error!s:.300}\n  {pair!r}", flush=True)
                _seen.add(kind)
                if not self._go_on:
                    raise

    def _judged(self, pair: Any, name: str, asked: Callable[[], Any]) -> None:
        start = time.process_time()
        verdict = asked()
        if time.process_time() - start > CPU_S and (cost := self._cost(pair, name)) > CPU_S:
            raise Slow(f"{1000 * cost:.0f} ms")
        value = getattr(verdict, "value", None)
        assert value is None or 0.0 <= value <= 1.0, verdict
        assert not hasattr(verdict, "reason") or verdict.reason, "no reason"
        self.judged += 1

    def _cost(self, pair: Any, name: str) -> float:
        asking, answers = self._referee.stdin, self._referee.stdout
        assert asking is not None and answers is not None
        asking.write(json.dumps([list(pair), name]) + "\n")
        asking.flush()
        return float(answers.readline())


def asked_of_a_worker() -> None:
    """Let few questions reach the real worker, the same ones each time, and see that it keeps its limit."""
    from stages.rewards.mathematics import symbolic
    from stages.rewards.verdict import Verdict

    ask = symbolic.equal

    def equal(gold: str, answer: str) -> Verdict:
        if zlib.crc32(f"{gold}\0{answer}".encode("utf-8", "replace")) >= 2**32 * _ASKED:
            return Verdict(None, "not asked")
        start = time.monotonic()
        verdict = ask(gold, answer)
        if time.monotonic() - start > symbolic.LIMIT_S:
            raise Slow(f"{time.monotonic() - start:.0f} s in a worker")
        return verdict

    symbolic.equal = equal  # type: ignore[assignment]


def main() -> None:
    """Fuzz for the seconds that the command line says, else 60; a second word is the seed of the first inputs."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if "--referee" in sys.argv:
        return referee()
    try:
        import atheris  # type: ignore[import-not-found]
    except ImportError:
        print("atheris is not installed, so nothing was fuzzed: pip install -e '.[fuzz]' (Linux, x86-64)")
        return
    fuzz = Fuzz(go_on="--all" in sys.argv)
    with atheris.instrument_imports(include=["stages.rewards", "stages.core.text", "stages.core.language"]):
        from tests.rewards import grammar
    asked_of_a_worker()
    until = time.monotonic() + float(words[0] if words else 60)

    def one(data: bytes) -> None:
        if time.monotonic() > until:  # libFuzzer would leave without a word
            print(
                f"{fuzz.pairs:,} pairs, {fuzz.judged:,} judgements, {time.process_time():.0f} s of CPU time: ", end=""
            )
            print(f"{len(_seen)} kinds of fault", flush=True)
            shutil.rmtree(folder)
            os._exit(bool(_seen))
        source = atheris.FuzzedDataProvider(data)
        pair = grammar.pair(lambda count: source.ConsumeIntInRange(0, count - 1))
        if len(pair.completion) <= _LONGEST and len(pair.gold) <= _LONGEST:
            fuzz.one(pair)

    draw, folder = random.Random(words[1] if words[1:] else None), tempfile.mkdtemp(prefix="fuzz-")
    for place in range(_SEEDS):
        Path(folder, str(place)).write_bytes(draw.randbytes(draw.randint(8, _BYTES)))
    limits = [f"-max_len={_BYTES}", "-len_control=0", "-rss_limit_mb=4096", "-timeout=120", "-artifact_prefix=/tmp/"]
    atheris.Setup([sys.argv[0], *limits, "-verbosity=0", folder], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
