"""Outside rows -> Prompts, Conversations or Preferences: read by role, checked, deduped, split, decontaminated.

A user's file (JSON Lines, JSON, CSV, Parquet, Arrow), a dataset folder or a hub dataset enters; rows that can be used
leave, and every row left out stands in `dropped.jsonl` with its reason. A reward can only teach what it can judge, so
each gold is checked by its own reward here, once, and not discovered in a training run. A row that cannot be used never
ends the command; a column that no row has does.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.core import text
from stages.core.artifact import Artifact, Conversations, Draft, Preferences, Prompts
from stages.core.data import contamination, golds, layouts, makers, outside
from stages.core.data.contamination import Grams
from stages.core.data.counting import BOTH, Counting
from stages.core.data.layouts import Layout
from stages.core.data.makers import Wishes, candidate
from stages.core.data.pieces import Piece
from stages.core.data.sifting import Candidate, Line, Sifter, digest, lined
from stages.core.data.tally import Tally, unread
from stages.core.data.values import Unusable
from stages.core.errors import InputError, RecipeError, nearest
from stages.core.fingerprint import later
from stages.core.recipe import ranges
from stages.core.rows import VERIFIERS
from stages.core.run import beside
from stages.rewards.accepted import Answers, fault_of

if TYPE_CHECKING:
    from stages.core.run.runner import Work

VERSION = 8
ENOUGH = 10
"""Pieces of the source, of a thousand rows or a megabyte, for which processes are worth starting."""
SPLITS = ("train", "heldout", "all")
KINDS: dict[str, type[Artifact]] = {
    "prompts": Prompts,
    "conversations": Conversations,
    "preferences": Preferences,
}
_CONFLICTS = {"prompts": "conflicting golds", "conversations": "conflicting", "preferences": "conflicting preferences"}
_OF_PROMPTS = ("answer_pattern", "verifier", "options", "first_option", "several", "real_answers")
"""Keys that are about golds."""
_FILES = "docs/data.md says which files are read"
_HINTS = {
    "not JSON": _FILES,
    "not CSV": _FILES,
    "not an object": _FILES,
    "not UTF-8 text": "save it as UTF-8: `iconv -f LATIN1 -t UTF-8 FILE > rows.csv`, with its own encoding for LATIN1",
    "a name stands twice": "give each value its own name",
    BOTH: '`first_option=0` or `first_option=1` takes it for the number; as a text, `"4"`, it is the text',
    "more values than columns": "put texts that hold the separator in quotes",
}
"""What helps where the file itself is at fault."""
_HINT = "map your columns in the recipe, e.g. `columns: {problem: question, answer: solution}`"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the rows should be."""

    source: str
    """A .jsonl, .json, .csv, .tsv, .parquet or .arrow file (.gz, .bz2, .xz or .zst too), a dataset folder, or
    `hf:owner/name[@revision]`."""
    kind: str = later("prompts")
    """prompts, conversations (to imitate) or preferences (chosen and rejected, for judges)."""
    subset: str = ""
    """Configuration of a hub dataset or folder (GSM8K: `main`); empty = its default. Files have none."""
    source_split: str = "train"
    """Split to read of a hub dataset or folder. Files have none."""
    columns: dict[str, str] = field(default_factory=dict)
    """Our field -> their column (`problem: question`), `a.b`, `a[-1]` and `messages[user]` reach into it; a field not
    named here keeps its name, or is found by the usual ones (docs/data.md)."""
    answer_pattern: str = ""
    r"""Regular expression whose first group is the gold; empty = what follows `####` in the last line, else the last
    \boxed{} and those joined to it, else the whole answer."""
    verifier: str = ""
    """math, choice, program, exact, code, or a judge: helpful, safe; empty = the row's own `verifier`, else math."""
    options: bool = later(True)
    """Put the options of a multiple-choice row into its problem as lines `A. …`, and its letter as the gold; false =
    leave both as they are."""
    first_option: int = later(-1)
    """Which number an answer calls the first option by, where it is a number: 0 or 1; -1 = by the column as a whole:
    from 1 where it is never 0 and somewhere the number of options, else from 0."""
    several: str = later("")
    """What a list of answers is: any (any one of them is right) or all (the parts of one answer); empty = by its column
    and verifier, as docs/data.md says."""
    real_answers: list[str] = later([])
    """Golds that are answers here, although they usually say that there is none: `[None, unknown]`."""
    family: str = ""
    """Task family for tables; empty = the row's own, else none."""
    language: str = ""
    """ISO 639-1 code of the problems; empty = the row's own, else zh or en by the script of the problem."""
    split: str = "all"
    """train, heldout or all. A row's split is a hash of its canonical problem: the same in every file and for every
    seed."""
    heldout_share: float = 0.1
    """Share of problems in the heldout split, 0 to 1."""
    dedupe: bool = True
    """Keep the first of equal rows; equal problems with different golds are all left out, since one of them is
    wrong."""
    ngram: int = 10
    """Leave out a problem that shares a run of this many words (CJK: characters) with `against`; DeepSeek-R1 uses 10.
    At least 2."""
    max_problem_chars: int = later(0)
    """Leave out a problem of more characters, turns before it included (English: about 4 a token, Chinese: 1.5); 0 =
    keep any."""
    max_rows: int = 0
    """Keep at most this many rows, chosen by hash and seed; 0 = all."""
    seed: int = 0
    """Changes which rows `max_rows` chooses, and nothing else."""

    def __post_init__(self) -> None:
        chosen: tuple[tuple[str, str, tuple[str, ...]], ...] = (
            ("kind", self.kind, tuple(KINDS)),
            ("split", self.split, SPLITS),
            ("several", self.several, ("", "any", "all")),
        )
        for name, value, known in chosen:
            if value not in known:
                raise RecipeError(f"unknown {name} `{value}`", hint=f"use one of: {', '.join(filter(None, known))}")
        if self.kind != "prompts":
            ranges.check(self, "prepare", ranges.idle(self, f"for kind {self.kind}", *_OF_PROMPTS))
        if self.verifier and self.verifier not in VERIFIERS:
            raise RecipeError(f"unknown verifier `{self.verifier}`", hint=f"use one of: {', '.join(VERIFIERS)}")
        if self.first_option not in (-1, 0, 1):
            raise RecipeError(f"first_option is {self.first_option}", hint="use 0, 1, or -1 to have it found")
        if not 0.0 <= self.heldout_share <= 1.0:
            raise RecipeError(f"heldout_share is {self.heldout_share}", hint="give a share from 0 to 1")
        if self.ngram < 2 or min(self.max_rows, self.max_problem_chars) < 0:
            what = f"ngram is {self.ngram}, max_rows {self.max_rows}, max_problem_chars {self.max_problem_chars}"
            raise RecipeError(what, hint="ngram >= 2, max_rows >= 0, max_problem_chars >= 0")
        known = (*layouts.FIELDS[self.kind], "messages", "system")
        for name in self.columns:
            if name not in known:
                hint = f"{nearest(name, known)}columns maps our field to yours; ours are: {', '.join(known)}"
                raise RecipeError(f"unknown field `{name}` in columns", hint=hint)
        try:
            groups = re.compile(self.answer_pattern).groups
        except re.error as error:
            raise RecipeError(f"answer_pattern is no regular expression ({error})", hint="try: '#### (.*)'") from error
        if self.answer_pattern and groups < 1:
            raise RecipeError("answer_pattern has no group", hint="put brackets around the gold: '#### (.*)'")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the rows are made with."""

    against: Prompts | None = None
    """Evaluation prompts that no problem may share an n-gram with."""


def kind_of(recipe: Recipe) -> type[Artifact]:
    """Return the kind of artifact that a recipe makes."""
    return KINDS[recipe.kind]


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Turn the source into checked rows; raises InputError for a column that no row has, or if no row is left."""
    identified = identity(recipe)
    against = (row["problem"] for row in inputs.against.rows().plain()) if inputs.against else ()
    grams = contamination.grams_of(against, recipe.ngram, work.scratch / "grams.npy")
    commit = identified.get("source_commit", "")
    source = outside.Source(recipe.source, recipe.subset, recipe.source_split, work.scratch, commit)
    found = _passed(recipe, source, grams, work, Counting(None if recipe.first_option < 0 else recipe.first_option))
    if counting := found.layout.counting.settled():
        found = _passed(recipe, source, grams, work, counting)
    tally, read = found.tally, found.read
    if not found.figures["rows"]:
        raise _nothing(recipe, work.path, read, found.dropped)
    kept = found.figures["rows"]
    work.emit("progress", done=read, total=read, unit="rows", figures={"kept": float(kept)})
    for warning in (
        *tally.warnings(kept),
        *found.layout.counting.told(),
        *unread(source.columns, sorted(found.layout.unread)),
    ):
        work.emit("warning", text=warning)
    tables = {"dropped": found.dropped, "families": dict(tally.families)}
    tables |= {"splits": dict(tally.splits)} if recipe.kind == "prompts" else {}
    return Draft(kind_of(recipe), {"rows_read": read, **found.figures, **tables, **identified})


def _refuse_parts_of_a_file(recipe: Recipe) -> None:
    """Raise RecipeError where a file is asked for a subset or a split, which it has not."""
    if not Path(recipe.source).is_file():
        return
    for name, usual in (("subset", ""), ("source_split", "train")):
        if (given := getattr(recipe, name)) != usual:
            what = f"`{name}={given}` is for a dataset, and `{recipe.source}` is one file"
            raise RecipeError(what, hint="leave it out, or give the dataset's folder")


class _Passed(NamedTuple):
    """A source that was read to its end, its rows written."""

    read: int
    layout: Layout
    tally: Tally
    figures: dict[str, int]
    dropped: dict[str, int]


def _passed(recipe: Recipe, source: outside.Source, grams: Grams, work: Work, counting: Counting) -> _Passed:
    """Read the source once, and write the rows that can be used and those that cannot."""
    layout, tally = Layout(recipe.kind, recipe.columns, counting), Tally()
    read = 0
    pieces = source.pieces(layout.wanted)
    first = list(islice(pieces, ENOUGH))
    count = beside.processes(work.runtime, len(first), ENOUGH)
    made = beside.in_order(partial(_Maker, recipe, grams, counting.afresh()), chain(first, pieces), count)
    given: dict[str, Any] = {"dedupe": recipe.dedupe, "max_rows": recipe.max_rows}
    with Sifter(work.scratch / "rows", conflict=_CONFLICTS[recipe.kind], **given) as sifter:
        for one in made:
            layout.add(one.layout)
            source.columns.update(one.columns)
            for row in one.rows:
                sifter.add(row)
            read += len(one.rows)
            work.emit("progress", done=read, total=0, unit="rows", figures={"kept": float(sifter.kept)})
        _check_columns(recipe, layout, source, read)
        figures = sifter.finish(work.path / f"{recipe.kind}.jsonl", work.path / "dropped.jsonl", tally.take)
        return _Passed(read, layout, tally, figures, sifter.dropped())


class _Made(NamedTuple):
    """What became of a piece of the source."""

    rows: list[Line]
    layout: Layout
    """What was met in it."""
    columns: dict[str, None]
    """The columns of its rows."""


class _Maker:
    """Makes rows of ours of a piece of the source, in any process."""

    def __init__(self, recipe: Recipe, grams: Grams, counting: Counting) -> None:
        self.recipe, self.grams, self.counting = recipe, grams, counting
        self.answers = Answers(
            *(recipe.answer_pattern, recipe.several, tuple(recipe.real_answers)),
            column=recipe.columns.get("answer", "answer"),
        )
        self.wishes = Wishes(
            *(recipe.kind, outside.name_of(recipe.source), recipe.verifier, recipe.family, recipe.language),
            heldout_share=recipe.heldout_share,
            max_problem_chars=recipe.max_problem_chars,
            options=recipe.options,
        )

    def __call__(self, piece: Piece) -> _Made:
        """Return its rows as lines, each checked that may be kept."""
        recipe, layout = self.recipe, Layout(self.recipe.kind, self.recipe.columns, self.counting.afresh())
        columns, rows, keys = dict[str, None](), list[Line](), set[bytes]()
        for raw in piece(columns, layout.wanted):
            found = candidate(raw, layout, self.wishes, self.answers.golds)
            elsewhere = recipe.split not in ("all", found.split) and found.split != ""
            repeated = recipe.dedupe and found.key in keys
            check, seed = None if repeated else self._checked, recipe.seed if recipe.max_rows else None
            rows.append(lined(found, check, elsewhere=elsewhere, seed=seed))
            keys.add(rows[-1].key)
        return _Made(rows, layout, columns)

    def _checked(self, found: Candidate) -> Candidate:
        """Return a row with what speaks against it, or as it is."""
        shared = self.grams.shared(found.fields["problem"])
        fault, detail = fault_of(found.fields) if self.recipe.kind == "prompts" else ("", "")
        if not fault and shared:
            fault, detail = "contaminated", shared
        return found._replace(fault=fault, detail=detail)


def _nothing(recipe: Recipe, folder: Path, read: int, dropped: dict[str, int]) -> InputError:
    """Return the error of a source without a usable row: the most frequent reason, with the first row it is said of."""
    most, told = max(dropped, key=lambda each: dropped[each], default=""), ""
    with (folder / "dropped.jsonl").open(encoding="utf-8") as lines:
        first = next((row for row in map(json.loads, lines) if row["reason"] == most), None)
    for file in (f"{recipe.kind}.jsonl", "dropped.jsonl"):
        (folder / file).unlink()
    if first:
        detail = f": {first['detail'][:160]}" if first["detail"] else ""
        told = f"; most often: {most} ({dropped[most]} of them, the first in {Path(first['where']).name}{detail})"
    hint = _HINTS.get(most, _HINT) if read else "check the file, or `source_split`"
    return InputError(f"none of {read} rows can be used{told}", where=recipe.source, hint=hint)


def identity(recipe: Recipe) -> dict[str, str]:
    """Return what the source really is, {"source_sha256"} or {"source_commit"}; the runner adds it to the fingerprint.

    So a changed source builds the next number. Raises MissingError when there is no source, RecipeError where a part is
    asked of one that has none.
    """
    _refuse_parts_of_a_file(recipe)
    return outside.identity(recipe.source)


def split_of(problem: str, heldout_share: float) -> str:
    """Return `heldout` or `train` by the sha256 of the canonical problem, so that no wording of it is in both."""
    return makers.split_of(digest(text.canonical(problem)), heldout_share)


def extract_gold(answer: str, pattern: str = "") -> str | None:
    r"""Return the gold inside an answer text: by `pattern`, else after a `####` in its last line, else the last
    \boxed{} with those joined to it, else all of it; None where there is none, or where it cannot be told."""
    try:
        return ", ".join(golds.extract(answer, pattern)) or None
    except Unusable:
        return None


def _check_columns(recipe: Recipe, layout: Layout, source: outside.Source, read: int) -> None:
    """Raise InputError for a column that no row has: a mapped one, or one that rows of this kind need."""
    for name, column in layout.unseen.items():
        if source.columns:
            what = f"no row has `{column}` (our `{name}`)"
            raise InputError(what, where=recipe.source, hint=layout.hint(name, source.columns))
    for name, count in layout.lacking.items():
        if count == layout.met:
            what = f"no row has `{name}`, or another column that is known for it"
            raise InputError(what, where=recipe.source, hint=layout.hint(name, source.columns))
