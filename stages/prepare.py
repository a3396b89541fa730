"""Outside problems -> Prompts: normalise, extract the gold, check it by its own reward, dedupe, split, decontaminate.

A user's JSONL or Parquet file, a dataset folder or a hub dataset enters; rows that a reward can judge leave as
`prompts.jsonl`, and every row left out stands in `dropped.jsonl` with its reason. A reward can only teach what it can
judge, so this is checked here, once, and not discovered in a training run. A row that cannot be read at all stops
everything, and nothing is sealed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.core import text
from stages.core.artifact import Draft, Prompts
from stages.core.data import contamination, outside
from stages.core.errors import InputError, RecipeError, nearest
from stages.core.language import scripts
from stages.core.rows import VERIFIERS, Prompt, write_rows
from stages.rewards import accuracy

if TYPE_CHECKING:
    from stages.core.run.runner import Work

VERSION = 4
SPLITS = ("train", "heldout", "all")
_FIELDS = tuple(f.name for f in fields(Prompt))
_HINT = "map your columns in the recipe, e.g. `columns: {problem: question, answer: solution}`"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the prompts should be."""

    source: str
    """A .jsonl or .parquet file, a dataset folder, or `hf:owner/name[@revision]`."""
    subset: str = ""
    """Configuration of a hub dataset or folder (GSM8K: `main`); empty = its default. Files have none."""
    source_split: str = "train"
    """Split to read of a hub dataset or folder. Files have none."""
    columns: dict[str, str] = field(default_factory=dict)
    """Our field -> their column (`problem: question`), `a.b` reaches into nested objects; a field not named here
    keeps its name."""
    answer_pattern: str = ""
    r"""Regular expression whose first group is the gold; empty = what follows `####`, else the last \boxed{}, else
    the whole answer."""
    verifier: str = ""
    """math, choice, program or exact; empty = the row's own `verifier`, else math."""
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
    """Keep the first of equal problems; equal problems with different golds are all left out, since one of them is
    wrong."""
    ngram: int = 10
    """Leave out a problem that shares a run of this many words (CJK: characters) with `against`; DeepSeek-R1 uses 10.
    At least 2."""
    max_rows: int = 0
    """Keep at most this many rows, chosen by hash and seed; 0 = all."""
    seed: int = 0
    """Changes which rows `max_rows` chooses, and nothing else."""

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise RecipeError(f"unknown split `{self.split}`", hint=f"use one of: {', '.join(SPLITS)}")
        if self.verifier and self.verifier not in VERIFIERS:
            raise RecipeError(f"unknown verifier `{self.verifier}`", hint=f"use one of: {', '.join(VERIFIERS)}")
        if not 0.0 <= self.heldout_share <= 1.0:
            raise RecipeError(f"heldout_share is {self.heldout_share}", hint="give a share from 0 to 1")
        if self.ngram < 2 or self.max_rows < 0:
            raise RecipeError(f"ngram is {self.ngram}, max_rows is {self.max_rows}", hint="ngram >= 2, max_rows >= 0")
        for name in self.columns:
            if name not in _FIELDS:
                hint = f"{nearest(name, _FIELDS)}columns maps our field to yours; ours are: {', '.join(_FIELDS)}"
                raise RecipeError(f"unknown field `{name}` in columns", hint=hint)
        try:
            groups = re.compile(self.answer_pattern).groups
        except re.error as error:
            raise RecipeError(f"answer_pattern is no regular expression ({error})", hint="try: '#### (.*)'") from error
        if self.answer_pattern and groups < 1:
            raise RecipeError("answer_pattern has no group", hint="put brackets around the gold: '#### (.*)'")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the prompts are made with."""

    against: Prompts | None = None
    """Evaluation prompts that no row may share an n-gram with."""


class Row(NamedTuple):
    """An outside row on its way: where it stood, what it became, and why it is left out ("" = kept)."""

    where: str
    prompt: Prompt
    fault: str = ""
    detail: str = ""


def run(recipe: Recipe, inputs: Inputs, work: Work) -> Draft:
    """Turn the source into checked prompts; raises InputError (file:line) for an unreadable row, or if none is left."""
    source = identity(recipe)
    lines = outside.read(recipe.source, recipe.subset, recipe.source_split, work.scratch)
    rows = [_read_row(raw, where, recipe) for where, raw in lines]
    counts = {"rows_read": len(rows)}
    if recipe.dedupe:
        rows = _deduped(rows)
    in_split = [row for row in rows if recipe.split in ("all", row.prompt.split)]
    counts["rows_in_other_split"] = len(rows) - len(in_split)
    evaluated = inputs.against.rows() if inputs.against else []
    grams = contamination.grams_of((prompt.problem for prompt in evaluated), recipe.ngram)
    checked: list[Row] = []
    for row in in_split:
        checked.append(row if row.fault else _checked(row, grams, recipe.ngram))
        if len(checked) % 500 == 0 or len(checked) == len(in_split):
            kept = sum(not row.fault for row in checked)
            work.emit("progress", done=len(checked), total=len(in_split), unit="rows", figures={"kept": float(kept)})
    good = [row for row in checked if not row.fault]
    faults = Counter(row.fault for row in checked if row.fault)
    if not good:
        most = f"; most often: {faults.most_common(1)[0][0]}" if faults else ""
        raise InputError(f"none of {len(rows)} rows can be used{most}", where=recipe.source, hint=_HINT)
    chosen = _chosen(good, recipe)
    counts["rows_over_max"] = len(good) - len(chosen)
    _check_ids(chosen)
    write_rows(work.path / "prompts.jsonl", (row.prompt for row in chosen))
    _write_dropped(work.path / "dropped.jsonl", checked)
    families = Counter(row.prompt.family or "-" for row in chosen)
    splits = Counter(row.prompt.split for row in chosen)
    tables = {"dropped": dict(faults), "families": dict(families), "splits": dict(splits)}
    return Draft(Prompts, {**counts, "rows": len(chosen), **tables, **source})


def identity(recipe: Recipe) -> dict[str, str]:
    """Return what the source really is, {"source_sha256"} or {"source_commit"}; the runner adds it to the fingerprint.

    So a changed source builds the next number. Raises MissingError when there is no source.
    """
    return outside.identity(recipe.source)


def split_of(problem: str, heldout_share: float) -> str:
    """Return `heldout` or `train` by the sha256 of the canonical problem, so that no wording of it is in both."""
    place = int.from_bytes(_digest(text.canonical(problem))[:8], "big") / 2**64
    return "heldout" if place < heldout_share else "train"


def extract_gold(answer: str, pattern: str = "") -> str | None:
    r"""Return the gold inside an answer text: by `pattern`, else after the last `####`, else the last \boxed{}, else
    all of it."""
    if pattern:
        match = re.search(pattern, answer)
        return match.group(1).strip() if match and match.group(1) is not None else None
    if "####" in answer:
        return answer.rsplit("####", 1)[1].strip()
    boxes = text.boxed(answer)
    return (boxes[-1] if boxes else answer).strip()


def _read_row(raw: dict[str, Any], where: str, recipe: Recipe) -> Row:
    """Map one outside row to a Prompt; raises InputError at `where` for a missing or mistyped problem or answer."""
    problem, answer = (_required(raw, name, where, recipe) for name in ("problem", "answer"))
    gold = extract_gold(answer, recipe.answer_pattern)
    verifier = recipe.verifier or str(_value(raw, "verifier", recipe) or "math")
    script = "zh" if (scripts.language_share(problem, "zh") or 0.0) > 0.5 else "en"
    meta, given_id = _value(raw, "meta", recipe), _value(raw, "id", recipe)
    own_id = f"{Path(recipe.source).stem}-{_digest(text.canonical(problem)).hex()[:12]}"
    prompt = Prompt(
        id=own_id if given_id in (None, "") else str(given_id),
        problem=problem.strip(),
        answer=gold or "",
        verifier=verifier,
        family=recipe.family or str(_value(raw, "family", recipe) or ""),
        split=split_of(problem, recipe.heldout_share),
        level=_level(_value(raw, "level", recipe)),
        language=recipe.language or str(_value(raw, "language", recipe) or script),
        meta=meta if isinstance(meta, dict) else {},
    )
    if verifier not in VERIFIERS:
        raise InputError(f"unknown verifier `{verifier}`", where=where, hint=f"use one of: {', '.join(VERIFIERS)}")
    if gold is None:
        return Row(where, prompt, "no gold in the answer", "answer_pattern does not match")
    if not prompt.problem:
        return Row(where, prompt, "empty problem")
    try:
        json.dumps(prompt.__dict__, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Row(where, prompt, "not valid Unicode", "half of a surrogate pair")
    return Row(where, prompt)


def _required(raw: dict[str, Any], name: str, where: str, recipe: Recipe) -> str:
    value = _value(raw, name, recipe)
    column = recipe.columns.get(name, name)
    if value is None:
        meant = f" (our `{name}`)" if column != name else ""
        hint = f"it has: {', '.join(map(str, raw))[:200]}; {_HINT}"
        raise InputError(f"the row lacks `{column}`{meant}", where=where, hint=hint)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and name == "answer":
        return str(value)
    raise InputError(f"`{column}` should be text, not {type(value).__name__}", where=where, hint=_HINT)


def _value(raw: dict[str, Any], name: str, recipe: Recipe) -> Any:
    """Return the column of one of our fields, following `a.b` into objects and lists; None where there is none."""
    column = recipe.columns.get(name, name)
    if column in raw:
        return raw[column]
    value: Any = raw
    for part in column.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _level(value: Any) -> int:
    """Read a difficulty: 3, "3", "Level 3"; 0 where there is none."""
    digits = re.search(r"\d{1,6}", str(value)) if value is not None else None
    return int(digits.group()) if digits else 0


def _deduped(rows: list[Row]) -> list[Row]:
    """Mark all but the first of equal problems, and every one of a problem with more than one gold."""
    golds: dict[str, set[str]] = {}
    for row in rows:
        if not row.fault:
            golds.setdefault(text.canonical(row.prompt.problem), set()).add(text.canonical(row.prompt.answer))
    seen: set[str] = set()
    marked: list[Row] = []
    for row in rows:
        key = text.canonical(row.prompt.problem)
        if not row.fault and len(golds[key]) > 1:
            row = row._replace(fault="conflicting golds", detail=" / ".join(sorted(golds[key]))[:200])
        elif not row.fault and key in seen:
            row = row._replace(fault="duplicate")
        seen.add(key)
        marked.append(row)
    return marked


def _checked(row: Row, grams: contamination.Grams, size: int) -> Row:
    """Mark a row whose gold its own reward does not accept, or that shares an n-gram with the evaluation prompts."""
    verdict = accuracy.check_gold(row.prompt)
    if verdict.value != 1.0:
        return row._replace(fault="gold cannot be judged", detail=verdict.reason)
    shared = contamination.shared_gram(row.prompt.problem, grams, size)
    if shared:
        return row._replace(fault="contaminated", detail=shared)
    return row


def _chosen(rows: list[Row], recipe: Recipe) -> list[Row]:
    """Return at most `max_rows` rows, chosen by hash and seed, in file order."""
    if not recipe.max_rows or len(rows) <= recipe.max_rows:
        return rows
    keys = [_digest(f"{recipe.seed}\0{text.canonical(row.prompt.problem)}") for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (keys[i], i))
    return [rows[i] for i in sorted(order[: recipe.max_rows])]


def _check_ids(rows: list[Row]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        if row.prompt.id in seen:
            what = f"the id `{row.prompt.id}` was already used at {seen[row.prompt.id]}"
            raise InputError(what, where=row.where, hint="give every row its own id, or map `id` to another column")
        seen[row.prompt.id] = row.where


def _write_dropped(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            if row.fault:
                told = {"where": row.where, "id": row.prompt.id, "reason": row.fault, "detail": row.detail}
                told |= {"problem": row.prompt.problem, "answer": row.prompt.answer}
                file.write(json.dumps(told) + "\n")  # ASCII: a dropped row may hold text that is no valid Unicode


def _digest(content: str) -> bytes:
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
