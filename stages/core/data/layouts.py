"""Which columns of an outside row mean what: a row and the user's own mapping enter, its parts leave.

A mapped column always wins. What is not mapped is found by the names that public data sets use: messages, ShareGPT,
`prompt` with `completion` or with `chosen` and `rejected`, Alpaca's `instruction`, verl's `reward_model`. All are
listed in docs/data.md. Nothing is found by position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stages.core.data import columns, messages, options, passages
from stages.core.data.columns import ABSENT
from stages.core.data.counting import Counting
from stages.core.data.messages import Message, Talk
from stages.core.data.sifting import digest
from stages.core.data.values import Unusable, parsed, shown
from stages.core.rows import TEST_FIELDS

FIELDS = {
    "prompts": ("id", "problem", "answer", "options", "verifier", "family", "split", "level", "language", "meta"),
    "conversations": ("id", "problem", "reasoning", "summary", "language", "family", "source", "meta"),
    "preferences": ("id", "problem", "chosen", "rejected", "margin", "language", "family"),
}
"""What may be mapped for each kind, besides `messages` and `system`."""
_MESSAGES = ("messages", "conversations", "conversation")
PROBLEMS = ("prompt", "question", "query", "input", "question_stem", "Question")
"""Columns of a problem, where none is mapped."""
_RESPONSES = ("response", "completion", "output", "generated_solution", "solution", "answer")
_SYSTEMS = ("system", "system_prompt")
_PAIRED = tuple(
    tuple(f"{name}{end}" for end in ends)
    for name in ("response", "response_", "conversation_", "answer_")
    for ends in (("1", "2"), ("0", "1"), ("a", "b"))
)
"""Names of two responses, of which another column tells the better one: by sign, by number, or by name."""
_SIGNED, _NUMBERED, _NAMED = ("overall_preference", "preference_strength"), ("better_response_id",), ("winner",)
_SCORES = ("score_{}", "{}_score", "{}_rating", "{}-rating")
_USUAL = {
    "problem": ("question", "query", "Question", "instruction", "prompt", "text"),
    "answer": ("final_answer", "expected_answer", "ground_truth", "gold", "target", "label", "solution", "Answer"),
    "summary": ("r1_solution_1", "deepseek_attempt", "attempt", "Response", "text"),
    "chosen": ("preferred", "response_a", "better"),
    "rejected": ("dispreferred", "response_b", "worse"),
}
"""Names that are told as a way out, but never taken unasked."""


class Lacks(Unusable):
    """A row without a column it needs."""

    def __init__(self, field: str) -> None:
        super().__init__(f"no {field}")
        self.field = field


class Layout:
    """The columns of one source; keeps count of what its rows lack."""

    def __init__(self, kind: str, mapped: Mapping[str, str], counting: Counting | None = None) -> None:
        self.kind, self.mapped = kind, dict(mapped)
        self.counting = counting or Counting()
        self.lacking: Counter[str] = Counter()
        self.unread: set[str] = set()
        self.met, self.unseen = 0, dict(mapped)
        own = (*FIELDS[kind], "messages", "system", "turns", "history", "instruction", "reward_model")
        other = (
            *_MESSAGES,
            *PROBLEMS,
            *passages.COLUMNS,
            *_RESPONSES,
            *_SYSTEMS,
            *messages.THOUGHTS,
            *_SIGNED,
            *_NUMBERED,
            *_NAMED,
            *("label", "answers"),
            *(options.COLUMNS if kind == "prompts" else ()),
        )
        pairs = [name for pair in _PAIRED for name in pair]
        scores = [score.format(side) for score in _SCORES for side in ("chosen", "rejected")]
        tests = TEST_FIELDS if kind == "prompts" else ()
        named = {name for path in mapped.values() for name in (path, columns.top(path))}
        self._read = {*own, *other, *pairs, *scores, *tests, "chosen", "rejected"} - set(mapped) | named

    def wanted(self, name: str) -> bool:
        """Whether a column of this name is read at all."""
        return name in self._read

    def meet(self, row: Mapping[str, Any]) -> None:
        """Note which mapped columns a row has; those of none stay in `unseen`."""
        self.met += 1
        for field, path in list(self.unseen.items()):
            if columns.at(row, path) is not ABSENT:
                del self.unseen[field]

    def add(self, below: Layout) -> None:
        """Note what another one met in rows further down."""
        self.met += below.met
        self.lacking.update(below.lacking)
        self.unread |= below.unread
        self.unseen = {field: path for field, path in self.unseen.items() if field in below.unseen}
        self.counting.add(below.counting)

    def value(self, row: Mapping[str, Any], field: str) -> Any:
        """Return what stands in the column of one of our fields, ABSENT where there is none."""
        path = self.mapped.get(field)
        return columns.at(row, path) if path else row.get(field, ABSENT)

    def text(self, row: Mapping[str, Any], field: str) -> str:
        """Return an optional field as text, "" where there is none."""
        value = self.value(row, field)
        return "" if value is ABSENT else messages.text_of(value) or ""

    def asked(self, row: dict[str, Any]) -> Talk:
        """Return the problem with the turns before it and, where messages hold one, the answer to it.

        Raises Lacks where no column holds a problem, Unusable for one that cannot be used.
        """
        system = self.text(row, "system") if "system" in self.mapped else _first_text(row, _SYSTEMS)
        value, listed = self.value(row, "problem"), self._messages(row)
        if listed is not None and (value is ABSENT or self._prefers_messages(row)):
            return messages.talk(messages.read(listed), system, answered=self.kind == "conversations")
        if value is ABSENT and "problem" not in self.mapped:
            value = _alpaca(row) if "instruction" in row else _first(row, PROBLEMS)
            if value in (ABSENT, None) and messages.is_messages(row.get("context")):  # a text there is no question
                value = row["context"]
        if value is ABSENT:
            raise Lacks("problem")
        if messages.is_messages(value):
            return messages.talk(messages.read(value), system, answered=False)
        if (before := self._before(row, value)) is not None:
            return messages.talk(before, system, answered=False)
        problem = (_inside(value, self.mapped.get("problem", "problem")) or "").strip()
        turns = [*_history(row.get("history")), *_own_turns(row.get("turns"))]
        if system and not any(turn["role"] == "system" for turn in turns):
            turns.insert(0, {"role": "system", "content": system.strip()})
        problem = passages.below(row, problem, self.mapped, self.unread) if problem else problem
        messages.check_text(problem)
        return Talk(turns, problem, None)

    def responded(self, row: dict[str, Any], talk: Talk) -> Message:
        """Return the response to imitate, with the thought that a column of its own holds."""
        value = self.value(row, "summary")
        if row.get("label") is False:  # completions that a judge should learn to refuse
            raise Unusable("labelled as bad")
        if value is ABSENT and "summary" not in self.mapped:
            if talk.response is not None:
                return talk.response
            value = _first(row, _RESPONSES)
        if value is ABSENT or value is None:
            raise Lacks("summary")
        answer = _last_answer(value)
        thought = self.text(row, "reasoning") if "reasoning" in self.mapped else messages.thought_of(row)
        return answer._replace(thought=thought) if thought else answer

    def answer(self, row: dict[str, Any], talk: Talk) -> Any:
        """Return the column that holds the gold; else the last answer of the messages, without its thought."""
        value = self.value(row, "answer")
        if value is ABSENT and "answer" not in self.mapped:
            value = columns.at(row, "reward_model.ground_truth")
            if value is ABSENT and talk.response is not None:
                return messages.parts(talk.response)[1]
            value = _first(row, ("answers", "completion", "output")) if value is ABSENT else value
        if value is ABSENT:
            raise Lacks("answer")
        if messages.is_messages(value):
            return messages.parts(_last_answer(value))[1]
        return _inside(value, self.mapped.get("answer", "answer")) if isinstance(value, dict) else value

    def lettered(
        self, row: dict[str, Any], talk: Talk, gold: Callable[[Any, str], list[str]]
    ) -> tuple[str, str] | None:
        """Return a multiple-choice row's problem with its options and the right letter; None for a row without options.

        `gold` reads the golds inside an answer. Raises Unusable for options that cannot be shown, and for an answer
        that names none of them: no other verifier may judge it.
        """
        named = self.value(row, "options")
        found = options.of_row(row, None if named is ABSENT else named, lambda each: digest(f"{talk.problem}\0{each}"))
        if found is None:
            return None
        messages.check_text(found.lines())
        mapped = self.mapped.get("answer", "")
        given = {
            column: value
            for column in (mapped or "answer", *(options.KEYS if not mapped else options.FIRM))
            if (value := columns.at(row, column)) is not ABSENT and value is not None
        }
        given = given if not mapped or mapped in given else {}
        letter = self.counting.gold(found, given, mapped)
        if not letter:
            said = next(iter(given.values()), ABSENT)
            said = self.answer(row, talk) if said is ABSENT else said
            letter = found.gold(gold(said, "choice"), numbers=False) if isinstance(said, str) else ""
            if not letter:
                raise Unusable(options.NONE_SUCH, f"{shown(said)} of {len(found.texts)}: {shown(found.texts)}"[:200])
        if found.shown_in(talk.problem):
            return talk.problem, letter
        return f"{talk.problem}\n\n{found.lines()}", letter

    def compared(self, row: dict[str, Any]) -> tuple[Talk, str, str, float]:
        """Return the problem, the better response, the worse one, and by how much.

        Raises Lacks where a column is not there, Unusable where the two are equal or none is better.
        """
        chosen, rejected, margin = self._pair(row)
        shared = _shared(chosen, rejected)
        named = any(self.value(row, name) is not ABSENT for name in ("problem", "prompt"))
        if shared is None:
            talk = self.asked(row)
        else:
            talk = self._continued(row, shared, self.asked(row) if named else None)
        better, worse = (messages.whole(_last_answer(each)) for each in (chosen, rejected))
        if not better or not worse:
            raise Unusable("no answer", "an empty response")
        if better == worse:
            raise Unusable("equal responses")
        if margin < 0:
            raise Unusable("the rejected one scores higher", f"by {-margin:g}")
        return talk, better, worse, margin

    def _continued(self, row: Mapping[str, Any], shared: Sequence[Message], named: Talk | None) -> Talk:
        """Return what both conversations of a pair ask, which holds the turns that a column beside them lacks.

        Raises Unusable where that column asks something that nobody says in them; one that the user mapped wins.
        """
        system = self.text(row, "system") if "system" in self.mapped else _first_text(row, _SYSTEMS)
        if named is not None and "problem" in self.mapped and named.problem != shared[-1].text.strip():
            return named
        talk = messages.talk(shared, system, answered=False)
        if named is None or (named.problem == talk.problem and len(named.turns) <= len(talk.turns)):
            return talk
        if named.problem == talk.problem:
            return named
        if all(named.problem != each.text.strip() for each in shared):
            raise Unusable("two different questions", "the column beside the conversations asks another one")
        return talk

    def hint(self, field: str, names: Iterable[str]) -> str:
        """Say how a field that no row has could be mapped."""
        held = list(names)
        near = next((name for name in _USUAL.get(field, ()) if name in held), "YOUR_COLUMN")
        shown = ", ".join(held)[:200] or "no columns"
        return f"it has: {shown}; map it, e.g. `'columns={{{field}: {near}}}'`"

    def _messages(self, row: Mapping[str, Any]) -> Any:
        """Return the messages of a row, None where it has none."""
        if "messages" in self.mapped:
            value = self.value(row, "messages")
            if value is ABSENT:
                raise Lacks("messages")
            return value
        if {"problem", "summary"} & self.mapped.keys():
            return None
        for name in _MESSAGES:
            if name in row and messages.is_messages(row[name]):
                return row[name]
        return None

    def _before(self, row: Mapping[str, Any], value: Any) -> list[Message] | None:
        """Return a message that the user named as the problem with those before it, None where it is none: so a system
        turn is not lost, and one that stands where a question was expected is seen."""
        listed = row.get(columns.top(self.mapped.get("problem", "")))
        listed = parsed(listed) if isinstance(listed, str) else listed
        if not isinstance(listed, list) or not messages.is_messages(listed):
            return None
        ends = [at for at, one in enumerate(listed) if one is value or value in one.values()]
        return messages.read(listed[: ends[-1] + 1]) if ends else None

    def _prefers_messages(self, row: Mapping[str, Any]) -> bool:
        """Whether messages win over a column `problem`: to imitate, where no summary stands beside it."""
        return "messages" in self.mapped or (self.kind == "conversations" and "summary" not in row)

    def _pair(self, row: dict[str, Any]) -> tuple[Any, Any, float]:
        chosen, rejected = self.value(row, "chosen"), self.value(row, "rejected")
        if chosen is not ABSENT and rejected is not ABSENT:
            return chosen, rejected, self._margin(row)
        pair = next((pair for pair in _PAIRED if pair[0] in row and pair[1] in row), None)
        if pair is not None and (by := _better(row)) is not ABSENT:
            if not by:
                raise Unusable("neither is better")
            first, second = (row[name] for name in pair)
            return (second, first, float(by)) if by > 0 else (first, second, float(-by))
        raise Lacks("chosen" if chosen is ABSENT else "rejected")

    def _margin(self, row: Mapping[str, Any]) -> float:
        given = self.value(row, "margin")
        if given is not ABSENT and given is not None:
            return _as_float(given)
        for name in _SCORES:
            better, worse = (row.get(name.format(side)) for side in ("chosen", "rejected"))
            if better is not None and worse is not None:
                return _as_float(better) - _as_float(worse)
        return 0.0


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the first column of these that holds something; null where there are only empty ones, else ABSENT."""
    held = [row[name] for name in names if name in row]
    if not held:
        return ABSENT
    return next((value for value in held if value not in (None, "", [])), None)


def _inside(value: Any, column: str) -> str | None:
    """Return a value as text; raises Unusable that names a part of it where it is an object."""
    try:
        return messages.text_of(value)
    except Unusable as fault:
        part = (
            next((name for name, held in value.items() if isinstance(held, str)), "") if isinstance(value, dict) else ""
        )
        if fault.reason != "not a text" or not part:
            raise
        raise Unusable(fault.reason, f"an object; map a part of it, such as `{column}.{part}`") from fault


def _first_text(row: Mapping[str, Any], names: Sequence[str]) -> str:
    value = _first(row, names)
    return value.strip() if isinstance(value, str) else ""


def _alpaca(row: Mapping[str, Any]) -> Any:
    """Return an instruction with its input below it."""
    parts = [messages.text_of(row.get(name)) or "" for name in ("instruction", "input")]
    return "\n\n".join(part.strip() for part in parts if part.strip()) or None


def _history(value: Any) -> list[dict[str, str]]:
    """Return earlier rounds, [question, answer] each, as turns."""
    if not isinstance(value, list):
        return []
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        raise Unusable("no messages", "`history` should be pairs of a question and an answer")
    said = [
        (role, messages.text_of(text) or "")
        for pair in value
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return [{"role": role, "content": text} for role, text in said if text.strip()]


def _own_turns(value: Any) -> list[dict[str, str]]:
    """Return the turns of a row that is ours already."""
    if not value:
        return []
    return [{"role": each.role, "content": each.text} for each in messages.read(value)]


def _last_answer(value: Any) -> Message:
    """Return a response: a text, a message, or the last of a list of them, which must be the model's."""
    if isinstance(value, str) and messages.transcript(value):
        value = messages.transcript(value)
    if isinstance(value, list) and value and (isinstance(value[0], Message) or messages.is_messages(value)):
        last = messages.read(value)[-1]
        if last.role != "assistant":
            raise Unusable("ends without an answer", f"the last turn is {last.role}'s")
        return last
    return messages.read([value])[0] if isinstance(value, dict) else Message("assistant", messages.text_of(value) or "")


def _shared(chosen: Any, rejected: Any) -> list[Message] | None:
    """Return the turns that two conversations begin with in common; None where they are single responses."""
    if not all(
        messages.is_messages(each) or (isinstance(each, str) and messages.transcript(each))
        for each in (chosen, rejected)
    ):
        return None
    one, two = messages.read(chosen), messages.read(rejected)
    if len(one) < 2 or len(two) < 2:
        return None
    if one[:-1] != two[:-1]:
        raise Unusable("two different questions", "the responses answer different turns")
    return one[:-1]


def _better(row: Mapping[str, Any]) -> Any:
    """Return which of two responses is better: below 0 the first, above it the second, 0 neither; ABSENT where nothing
    tells."""
    for name in _SIGNED:
        if isinstance(row.get(name), int | float):
            return row[name]
    for name in _NUMBERED:
        if row.get(name) in (0, 1):
            return 1 if row[name] else -1
    for name in _NAMED:
        if isinstance(row.get(name), str):
            side = row[name].lower().removeprefix("model_").removeprefix("response_")
            return {"a": -1, "b": 1, "1": -1, "2": 1}.get(side, 0)
    return ABSENT


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise Unusable("not a number", f"margin: {str(value)[:60]}") from error
