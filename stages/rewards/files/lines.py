"""One line of a file of rows: bytes enter, a row to be scored or the reason why it cannot be; the line that answers it
leaves.

A file comes from anywhere, so every line gets exactly one answer whatever is in it: no JSON, no text, half a row. What
a row does not say is taken from what it does: its verifier from its tests or options, the prefill from a thinking that
ends without having begun.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.contract import R1_ZERO_TEMPLATE, Contract
from stages.core.data import golds
from stages.core.data.values import as_object_of, doubled
from stages.rewards.programs import forms
from stages.rewards.verdict import Verdict, shorten

LINE_BYTES = 16 * 2**20
"""A longer line is answered without being read whole."""
_PREFILL = "<think>\n"
_LETTERS = "ABCDEFGHIJ"
_PROGRAMMING = ("python", "python3", "py", "cpp", "c++")
_SPOKEN = re.compile(r"(?:auto|[a-z]{2,3}(?:[-_][a-z\d]+)*)?")  # en, zh-CN
_TEXTS = ("problem", "verifier", "language", "family", "split")
_OWN = (*_TEXTS, "id", "completion", "answer", "tokens", "level", "meta", "group")


@dataclass(frozen=True, slots=True)
class Asked:
    """One line, read: a row to be scored, or one that cannot be."""

    id: Any
    """As the line gives it, text or a number; None where it gives none."""
    refused: str = ""
    """Why it cannot be scored, "" where it can."""
    completion: str = ""
    """The completion."""
    prefill: str = ""
    """What the prompt ended with, and the completion therefore lacks."""
    tokens: int | None = None
    """The completion's length, where the line tells it."""
    row: Mapping[str, Any] | None = None
    """The fields of a `Prompt`."""
    group: str = ""
    """Rows of one group that stand together are judged together, where a reward asks for groups."""

    def question(self) -> dict[str, Any]:
        """What a worker is asked."""
        return {"completion": self.completion, "prefill": self.prefill, "tokens": self.tokens, "row": self.row}


def read(line: bytes | None, *, completions: bool = True) -> Asked:
    """Read one line; None stands for one over LINE_BYTES. Without `completions` a row needs none. Never raises."""
    if line is None:
        return Asked(None, f"the line is over {LINE_BYTES // 2**20} MiB")
    if not line.strip():
        return Asked(None, "the line is empty")
    try:
        given = json.loads(line.decode("utf-8"), object_pairs_hook=as_object_of)
    except UnicodeDecodeError:
        return Asked(None, "the line is not UTF-8 text")
    except (ValueError, RecursionError) as error:
        return Asked(None, f"the line is not JSON ({shorten(str(error), 80)})")
    if not isinstance(given, dict):
        return Asked(None, "the line is JSON but not an object")
    if name := doubled(given):
        return Asked(given["id"] if _is_name(given.get("id")) else None, f"`{shorten(name)}` stands twice")
    return _row(given if completions else {"completion": "", **given})


def _row(given: dict[str, Any]) -> Asked:
    name = given.get("id")
    if not _is_name(name):
        return Asked(None, "`id` should be text or a number" if "id" in given else "the row lacks `id`")
    fault = _fault(given)
    if fault:
        return Asked(name, fault)
    completion, meta = given["completion"], dict(given.get("meta") or {})
    for key, value in given.items():
        if key not in _OWN:
            meta.setdefault(key, value)
    row = {key: given[key] for key in _TEXTS if given.get(key) is not None}
    listed = golds.listed(given.get("answer"))
    answers = [_text(each) for each in listed or [given.get("answer")]]
    verifier = row.get("verifier") or _verifier(meta, answers[0])
    row = {"problem": "", "language": "", **row, "id": str(name), "answer": answers[0], "meta": meta}
    row["verifier"] = verifier
    if listed and golds.are_parts(listed, "answer", verifier):
        row["answer"] = ", ".join(answers)
    elif len(answers) > 1:
        meta.setdefault("answers", answers)
    said = row["language"].lower()
    if said in _PROGRAMMING or (row["verifier"] == "code" and not _SPOKEN.fullmatch(said)):
        # what the program is written in, and no word about its thinking
        meta.setdefault("code_language", row["language"])
        row["language"] = ""
    ended, began = completion.find("</think>"), completion.find("<think>")
    prefilled = ended >= 0 and not 0 <= began < ended
    group = given.get("group")
    return Asked(
        id=name,
        completion=completion,
        prefill=_PREFILL if prefilled else "",
        tokens=given.get("tokens"),
        row=row,
        group=str(name if group is None else group),
    )


def _fault(given: dict[str, Any]) -> str:
    """Say which field is not what it should be; "" for none."""
    if "completion" not in given:
        return "the row lacks `completion`"
    if not isinstance(given["completion"], str):
        return "`completion` should be text"
    for key in _TEXTS:
        if not isinstance(given.get(key, ""), str | None):
            return f"`{key}` should be text"
    answer = given.get("answer", "")
    several = isinstance(answer, list) and answer and all(isinstance(each, str | int | float) for each in answer)
    if not several and not isinstance(answer, str | int | float | None):
        return "`answer` should be text or a number, or a list"
    tokens = given.get("tokens")
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0):
        return "`tokens` should be a whole number of at least 0"
    if not isinstance(given.get("meta"), dict | None):
        return "`meta` should be an object"
    if not _is_name(given.get("group", "")) and given.get("group") is not None:
        return "`group` should be text or a number"
    return ""


def _is_name(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _text(answer: Any) -> str:
    if answer is None or isinstance(answer, str):
        return answer or ""
    try:
        return json.dumps(answer)
    except ValueError:  # a number of more digits than Python writes
        return ""


def _verifier(meta: Mapping[str, Any], answer: str) -> str:
    """Return the verifier that a row's own fields make plain, else math."""
    if forms.brings_tests(meta):
        return "code"
    options = meta.get("options") or meta.get("choices")
    if isinstance(options, list | dict) and len(answer.strip()) == 1 and answer.strip().upper() in _LETTERS:
        return "choice"
    return "math"


def contract(prefill: str) -> Contract:
    """Return the contract for completions that come without a model: R1's tags."""
    return Contract(
        template=R1_ZERO_TEMPLATE,
        template_name="r1_zero",
        prefill=prefill,
        eos_ids=[1],
        pad_id=0,
        tokenizer_sha256="",
        max_positions=2**31,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What is written for one line."""

    id: Any
    """The line's own."""
    reward: float | None
    """The plain sum of its verdicts, or None."""
    reason: str
    """Why, in a few words."""
    seconds: float
    """How long its scoring took."""
    verdicts: Mapping[str, Verdict]
    """Reward name -> its verdict; empty where none was reached."""

    def line(self, several: bool) -> bytes:
        """Return it as a JSON line in ASCII; with `several` rewards, each has its value and reason."""
        out = {"id": self.id, "reward": self.reward, "reason": self.reason, "seconds": round(self.seconds, 6)}
        if several:
            out["rewards"] = {name: verdict.value for name, verdict in self.verdicts.items()}
            out["reasons"] = {name: verdict.reason for name, verdict in self.verdicts.items()}
        return json.dumps(out).encode() + b"\n"


def answer(asked: Asked, verdicts: Mapping[str, Verdict], rewards: Sequence[str], seconds: float) -> Answer:
    """Return the answer to a row that was scored: the sum of its verdicts, None where one is None or none applies."""
    values = [verdict.value for verdict in verdicts.values()]
    total = None if None in values or not values else math.fsum(value for value in values if value is not None)
    if not verdicts:
        reason = f"{', '.join(rewards)}: not for rows of this kind (verifier {(asked.row or {})['verifier']})"
    elif len(rewards) == 1:
        reason = verdicts[rewards[0]].reason
    else:
        reason = "; ".join(f"{name}: {verdict.reason}" for name, verdict in verdicts.items())
    return Answer(asked.id, total, reason, seconds, verdicts)


def refused(asked: Asked, reason: str, seconds: float = 0.0) -> Answer:
    """Return the answer to a row that was not scored."""
    return Answer(asked.id, None, reason, seconds, {})
