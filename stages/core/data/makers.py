"""An outside row becomes one of ours: its columns and the recipe's wishes enter, a candidate leaves.

Whatever a row lacks or holds in another form is decided here, field by field; what cannot be used leaves as a
candidate with its fault. Nothing here judges whether an answer is right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from stages.core import text
from stages.core.data import golds, messages
from stages.core.data.columns import ABSENT
from stages.core.data.layouts import PROBLEMS, Lacks, Layout
from stages.core.data.messages import Talk
from stages.core.data.pieces import Raw
from stages.core.data.sifting import Candidate, digest
from stages.core.data.values import Unusable, as_json, as_object, as_text, shown
from stages.core.language import codes, scripts
from stages.core.rows import JUDGES, TEST_FIELDS, VERIFIERS, Conversation, Preference, Prompt, fields_of

_CJK = re.compile(f"[{text.CJK}]")
_NUMBERS = (int, float, Decimal)


class Wishes(NamedTuple):
    """What a recipe says of every row."""

    kind: str
    stem: str
    """What made-up ids begin with."""
    verifier: str
    family: str
    language: str
    heldout_share: float
    max_problem_chars: int
    options: bool = True
    """Put the options of a multiple-choice row into its problem."""


Gold = Callable[[Any, str], list[str]]
"""Reads the value of an answer column for a verifier: the golds, any one of which is right; raises Unusable where it
holds none."""


def candidate(raw: Raw, layout: Layout, wishes: Wishes, gold: Gold) -> Candidate:
    """Return an outside row as one of ours, or as what cannot be used, with the reason."""
    if raw.fault:
        return Candidate(raw.where, _known(raw.row, layout) if raw.row else {}, raw.fault, raw.detail)
    try:
        layout.meet(raw.row)
        made = _MAKERS[wishes.kind](raw, layout, wishes, gold)
    except Unusable as fault:
        if isinstance(fault, Lacks):
            layout.lacking[fault.field] += 1
        return Candidate(
            raw.where, {**_known(raw.row, layout), "row": shown(raw.row, 2000)}, fault.reason, fault.detail
        )
    asked = len(made.fields["problem"]) + sum(len(turn["content"]) for turn in made.fields.get("turns", ()))
    if 0 < wishes.max_problem_chars < asked:
        return made._replace(fault="problem too long", detail=f"{asked} characters")
    return made


def split_of(form: bytes, heldout_share: float) -> str:
    """Return `heldout` or `train` by the digest of a canonical problem."""
    return "heldout" if int.from_bytes(form[:8], "big") / 2**64 < heldout_share else "train"


def _prompt(raw: Raw, layout: Layout, wishes: Wishes, gold: Gold) -> Candidate:
    row = raw.row
    talk = layout.asked(row)
    if not talk.problem:
        raise Unusable("empty problem")
    verifier = wishes.verifier or _optional(row, layout, "verifier")
    lettered = layout.lettered(row, talk, gold) if wishes.options and verifier in ("", "math", "choice") else None
    if lettered:
        talk = talk._replace(problem=lettered[0])
    verifier = verifier or ("choice" if lettered else "math")
    if verifier not in VERIFIERS:
        raise Unusable("unknown verifier", f"`{verifier[:60]}`; use one of: {', '.join(VERIFIERS)}")
    try:
        answers = [lettered[1]] if lettered else gold(layout.answer(row, talk), verifier)
    except Lacks:
        if verifier not in (*JUDGES, "code"):
            raise
        answers = [""]  # a judge needs none, and a program has its tests
    form = text.canonical(talk.problem)
    key = own = digest(form)
    if talk.turns:
        key = digest(f"{form}\0{_turns(talk)}")
    made = Prompt(
        id=_optional(row, layout, "id") or f"{wishes.stem}-{key.hex()[:12]}",
        problem=talk.problem,
        answer=answers[0],
        verifier=verifier,
        family=wishes.family or _optional(row, layout, "family"),
        split=split_of(own, wishes.heldout_share),
        level=_level(layout.value(row, "level")),
        language=_language(row, layout, wishes, talk.problem),
        meta=_meta(row, layout)
        | (_tests(row, talk.problem) if verifier == "code" else {})
        | ({"answers": answers} if len(answers) > 1 else {})
        | ({"real_answer": True} if verifier in ("math", "exact") and any(map(golds.is_missing, answers)) else {}),
        turns=talk.turns,
    )
    return Candidate(raw.where, fields_of(made), key=key[:16], gold=" | ".join(answers), form=form, split=made.split)


def _conversation(raw: Raw, layout: Layout, wishes: Wishes, _: Gold) -> Candidate:
    row = raw.row
    talk = layout.asked(row)
    if not talk.problem:
        raise Unusable("empty problem")
    response = layout.responded(row, talk)
    if not response.learned:
        raise Unusable("not to be learned", "the last answer has the weight 0")
    reasoning, summary = messages.parts(response)
    form = text.canonical(talk.problem)
    key = digest(f"{form}\0{_turns(talk)}\0{reasoning}\0{summary}")
    made = Conversation(
        id=_optional(row, layout, "id") or f"{wishes.stem}-{key.hex()[:12]}",
        problem=talk.problem,
        reasoning=reasoning,
        summary=summary,
        language=_language(row, layout, wishes, summary),
        family=wishes.family or _optional(row, layout, "family"),
        source=_optional(row, layout, "source"),
        meta=_meta(row, layout),
        turns=talk.turns,
    )
    split = split_of(digest(form), wishes.heldout_share)
    return Candidate(raw.where, fields_of(made), key=key[:16], form=form, split=split)


def _preference(raw: Raw, layout: Layout, wishes: Wishes, _: Gold) -> Candidate:
    row = raw.row
    talk, chosen, rejected, margin = layout.compared(row)
    if not talk.problem:
        raise Unusable("empty problem")
    form = text.canonical(talk.problem)
    first, second = sorted((chosen, rejected))
    key = digest(f"{form}\0{_turns(talk)}\0{first}\0{second}")  # the same two, the other way round, are a conflict
    made = Preference(
        id=_optional(row, layout, "id") or f"{wishes.stem}-{key.hex()[:12]}",
        problem=talk.problem,
        chosen=chosen,
        rejected=rejected,
        margin=margin,
        language=_language(row, layout, wishes, talk.problem),
        family=wishes.family or _optional(row, layout, "family"),
        turns=talk.turns,
    )
    split = split_of(digest(form), wishes.heldout_share)
    return Candidate(raw.where, fields_of(made), key=key[:16], gold=chosen, form=form, split=split)


_MAKERS = {"prompts": _prompt, "conversations": _conversation, "preferences": _preference}


def _turns(talk: Talk) -> str:
    return text.canonical("\0".join(part for turn in talk.turns for part in turn.values()))


def _optional(row: dict[str, Any], layout: Layout, name: str) -> str:
    """Return a field that may be absent; one that is no text counts only where the user named its column."""
    try:
        return layout.text(row, name).strip()
    except Unusable:
        if name in layout.mapped:
            raise
        return ""


def _meta(row: dict[str, Any], layout: Layout) -> dict[str, Any]:
    value = layout.value(row, "meta")
    return {} if value is ABSENT else as_object(value)


def _tests(row: dict[str, Any], problem: str) -> dict[str, Any]:
    """What a row's own columns say of how a program is tested; a prompt that is the problem is not said twice."""
    found = {name: as_json(row[name]) for name in TEST_FIELDS if row.get(name) is not None}
    if isinstance(found.get("prompt"), str) and found["prompt"].strip() == problem.strip():
        del found["prompt"]
    return found


def _known(row: dict[str, Any], layout: Layout) -> dict[str, str]:
    """What can be told of a row that is left out."""
    found = {}
    for name in ("id", "problem", "answer"):
        value: Any = None
        try:
            value = layout.value(row, name)
            if value is ABSENT and name == "problem" and name not in layout.mapped:
                value = next((row[usual] for usual in PROBLEMS if usual in row), ABSENT)
            found[name] = "" if value is ABSENT else as_text(value) or ""
        except Unusable:
            found[name] = shown(value)
    return found


def _language(row: dict[str, Any], layout: Layout, wishes: Wishes, said: str) -> str:
    """Return the recipe's language, the row's own where it is a tag or a known name, else zh or en by the script."""
    if wishes.language:
        return wishes.language
    own = _optional(row, layout, "language")
    if (tag := codes.tag(own)) is not None:
        return tag
    chinese = _CJK.search(said) and (scripts.language_share(said, "zh") or 0.0) > 0.5
    return "zh" if chinese else "en"


def _level(value: Any) -> int:
    """Read a difficulty: 3, 3.5, "3", "Level 3"; 0 where there is none."""
    if value is ABSENT:
        return 0
    if isinstance(value, _NUMBERS) and not isinstance(value, bool):
        return int(value) if math.isfinite(value) and 0 < value < 10**6 else 0
    digits = re.search(r"\d{1,6}", value) if isinstance(value, str) else None
    return int(digits.group()) if digits else 0
