"""`python -m tests.bench.language`: the language reward's error against labelled texts, and its speed.

The labelled sentences of `tests/rewards/corpus_language.jsonl` enter: ten languages, words cut by spaces (in Chinese
and Japanese by hand or by a dictionary), what is no word of any language between ‹ ›. Texts leave, built by chance from
a seed, with the exact share of each language: pure ones, mixed by sentence and mixed by phrase, with code, formulas,
numbers and names in between; and a table of the differences in points. So do the situations that people report, by
kind, each with the range in which the reward should be (`tests/rewards/situations/language`).
Only `tune` sentences were looked at while the prices in `stages.core.language` were chosen; `held` ones are of the same
hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import random
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.core.language import languages
from stages.rewards import language as reward
from tests.bench import detectors
from tests.bench.detectors import TEN
from tests.rewards.contracts import contract, row

CORPUS = Path(__file__).parents[1] / "rewards" / "corpus_language.jsonl"
SITUATIONS = Path(__file__).parents[1] / "rewards" / "situations" / "language"
PARTS = ("tune", "held")
HARD = (("en", "de"), ("en", "fr"), ("es", "pt"), ("zh", "ja"), ("de", "fr"), ("fr", "es"), ("en", "zh"))
NOISE = (
    "$x^2 + 3x = 10$",
    "\\(a_n = 2 a_{n-1}\\)",
    "`print(total)`",
    "\n```python\nfor i in range(10):\n    total += i\n```\n",
    "12 + 5 = 17.",
    "x = 3,",
    "$$\\sum_{k=1}^{n} k = \\frac{n(n+1)}{2}$$",
    "\\boxed{42}",
    "3.5 km",
    "f(x) = 2x + 1.",
    "(48)",
    "Alice, Bob:",
    "https://example.org/sum?x=3",
    "A → B → C.",
)
_UNCOUNTED = re.compile("‹[^›]*›")
_CLAUSE = re.compile(r"[,，、،;；:：]\s*")


@dataclass(frozen=True)
class Piece:
    """A sentence or a phrase as a model would write it, its language and its number of words."""

    language: str
    written: str
    words: int


@dataclass(frozen=True)
class Text:
    """A labelled text: how it was made, and its words by language."""

    kind: str
    languages: tuple[str, ...]
    written: str
    words: dict[str, int]

    def share(self, language: str) -> float:
        return self.words.get(language, 0) / sum(self.words.values())


def piece(language: str, text: str) -> Piece:
    """A line of the corpus as a piece: ‹ › go, and the spaces between words in Chinese and Japanese."""
    words = [word for word in _UNCOUNTED.sub(" ", text).split() if any(letter.isalpha() for letter in word)]
    written = text.replace("‹", "").replace("›", "")
    if language in ("zh", "ja"):
        written = re.sub(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])", "", written)
    return Piece(language, written, len(words))


def sentences(part: str) -> dict[str, list[str]]:
    """Language -> its lines in one part of the corpus."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in CORPUS.read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["part"] == part:
            found[row["language"]].append(row["text"])
    return found


def texts(part: str, seed: int = 0) -> Iterator[Text]:
    """Labelled texts from one part: per language pure ones, per pair of languages mixed ones."""
    lines, chance = sentences(part), random.Random(f"{part}-{seed}")
    for language in TEN:
        for size in (1, 1, 2, 3, 4, 6, 6, 8):
            chosen = [piece(language, line) for line in chance.sample(lines[language], size)]
            yield _text("pure", chosen, chance)
    for pair in itertools.combinations(TEN, 2):
        for _ in range(4):
            chosen = [piece(side, chance.choice(lines[side])) for side in pair for _ in range(chance.randint(1, 5))]
            chance.shuffle(chosen)
            yield _text("by sentence", chosen, chance)
        for _ in range(4):
            chosen = [_phrase(side, lines[side], chance) for _ in range(chance.randint(1, 4)) for side in pair]
            yield _text("by phrase", chosen, chance, joint=chance.choice((", ", " ")))


def _phrase(language: str, lines: list[str], chance: random.Random) -> Piece:
    """A clause of at least three words."""
    while True:
        clauses = [part.strip(" .。!?？؟") for part in _CLAUSE.split(chance.choice(lines)) if "‹" not in part]
        long = [clause for clause in clauses if len(clause.split()) >= 3 and "›" not in clause]
        if long:
            return piece(language, chance.choice(long))


def _text(kind: str, pieces: list[Piece], chance: random.Random, joint: str = " ") -> Text:
    words: Counter[str] = Counter()
    written = []
    for one in pieces:
        words[one.language] += one.words
        written.append(one.written)
        if chance.random() < 0.3:
            written.append(chance.choice(NOISE))
    return Text(kind, tuple(sorted(words)), joint.join(written), dict(words))


def error(text: Text) -> float:
    """The largest difference of a language's share from its label, in points."""
    counts = languages.tally(text.written)
    total = counts.total() or 1
    return max(100 * abs(counts[one] / total - text.share(one)) for one in {*text.words, *counts})


@dataclass(frozen=True)
class Situation:
    """A completion in a row's language, and the least and the most that the language reward should pay."""

    id: str
    completion: str
    language: str
    expected: tuple[float, float]
    kind: str = ""
    null_ok: bool = False
    """Whether a row that cannot be judged is right too."""

    def value(self) -> float | None:
        return reward.reward(self.completion, row(language=self.language), contract()).value

    def fits(self) -> bool:
        value = self.value()
        return self.null_ok if value is None else self.expected[0] - 1e-9 <= value <= self.expected[1] + 1e-9


def situations(paths: Iterable[Path] = ()) -> dict[str, list[Situation]]:
    """Kind of situation -> its rows: the stored ones, or those of some files."""
    fields = {field.name for field in dataclasses.fields(Situation)}
    found: dict[str, list[Situation]] = defaultdict(list)
    for path in paths or sorted(SITUATIONS.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            given = json.loads(line)
            one = Situation(**{name: value for name, value in given.items() if name in fields})
            found[one.kind or path.stem].append(one)
    return found


def report_situations(paths: list[Path], wrong: bool) -> None:
    """Print how many situations of each kind are inside their range, and those that are not."""
    for kind, rows in situations(paths).items():
        outside = [one for one in rows if not one.fits()]
        share = 100 * (1 - len(outside) / len(rows))
        print(f"{kind:28}{len(rows):4} situations, {len(rows) - len(outside):4} in their range: {share:.1f} %")
        for one in outside if wrong else ():
            print(f"  {one.id} {one.language} {one.expected} {one.value()} {one.completion!r}")


def report_beside(paths: list[Path], parts: Iterable[str]) -> None:
    """Print how many texts of each kind ours and the other detectors read rightly: situations, those handed in first
    and ours, or those of some files; built texts."""
    cases: dict[str, list[Callable[[], bool]]] = defaultdict(list)
    for kind, rows in situations(paths).items():
        for one in rows:
            cases[kind if paths else f"{kind}, {'handed' if one.id.startswith('lang') else 'ours'}"].append(one.fits)
    for text in (text for part in parts if not paths for text in texts(part)):
        cases[f"built: {text.kind}"].append(lambda text=text: error(text) <= 5)
    right: dict[str, dict[str, int]] = defaultdict(dict)
    for name, tally in detectors.detectors().items():
        with detectors.decided_by(tally):
            for kind, fitting in cases.items():
                right[kind][name] = sum(fits() for fits in fitting)
    print(" | ".join(("kind", "texts", *next(iter(right.values())))))
    for kind, by_name in sorted(right.items()):
        print(" | ".join((kind, str(len(cases[kind])), *map(str, by_name.values()))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--worst", type=int, default=0, help="print this many of the worst texts")
    parser.add_argument("--wrong", action="store_true", help="list the situations that are not in their range")
    parser.add_argument(
        "--rows", nargs="+", default=[], type=Path, help="situations of your own instead, in JSON lines"
    )
    parser.add_argument("--beside", action="store_true", help=f"compare with py3langid and lingua; {detectors.INSTALL}")
    asked = parser.parse_args()
    if asked.beside:
        try:
            report_beside(asked.rows, asked.parts)
        except ModuleNotFoundError as missing:
            parser.error(f"{missing.name} is not installed; {detectors.INSTALL}")
        return
    report_situations(asked.rows, asked.wrong)
    if asked.rows:
        return
    for part in asked.parts:
        found = [(error(text), text) for seed in range(asked.seeds) for text in texts(part, seed)]
        groups: dict[str, list[float]] = defaultdict(list)
        for points, text in found:
            groups[f"all {text.kind}"].append(points)
            if text.kind == "pure":
                groups[text.languages[0]].append(points)
            elif text.languages in [tuple(sorted(pair)) for pair in HARD]:
                groups[f"{'/'.join(text.languages)} {text.kind}"].append(points)
        print(f"\n{part}: {len(found)} texts, {sum(points <= 5 for points, _ in found)} within 5 points")
        for name, errors in sorted(groups.items()):
            over = sum(points > 5 for points in errors)
            mean = statistics.mean(errors)
            print(f"  {name:20} {len(errors):4} texts  mean {mean:5.2f}  worst {max(errors):5.2f}  over 5: {over}")
        for points, text in sorted(found, key=lambda pair: -pair[0])[: asked.worst]:
            print(
                f"{points:5.1f} {text.kind} {text.words} {dict(languages.tally(text.written))}\n      {text.written!r}"
            )
    speed()


def speed() -> None:
    """Print the time of a 2,000-word text in each of four languages, best of five, after warm-up."""
    lines = sentences("held")
    for language in ("en", "de", "zh", "ja"):
        pieces = [piece(language, line) for line in lines[language]] * 20
        chosen = list(itertools.takewhile(lambda count: count[1] <= 2000, _running(pieces)))
        written = " ".join(one.written for one, _ in chosen)
        best = min(_seconds(written) for _ in range(5))
        print(f"{language}: {chosen[-1][1]} words in {1000 * best:.1f} ms of processor time")


def _running(pieces: list[Piece]) -> Iterator[tuple[Piece, int]]:
    return zip(pieces, itertools.accumulate(one.words for one in pieces), strict=True)


def _seconds(written: str) -> float:
    start = time.process_time()
    languages.tally(written)
    return time.process_time() - start


if __name__ == "__main__":
    main()
