"""Conversations of any layout -> turns, a problem, and a response in two parts.

Messages enter as public data sets hold them (`role` and `content`, ShareGPT's `from` and `value`, contents in parts,
reasoning in a field of its own); turns leave, read by their role and never by their position. A response is told apart
at the mark that closes its thought. What cannot be told apart raises `Unusable`: no part of a row is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from stages.core.data.values import Unusable, as_text, parsed, shown

ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "question"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "ai", "answer"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
"""What roles are called -> user, assistant or system."""
_ASKS = ("human", "user", "input", "instruction", "question", "prompt")
_SAYS = ("assistant", "gpt", "bot", "output", "response", "answer")
"""Names in a round that is one object: {"human": …, "assistant": …}."""
_TOOLS = ("tool", "function", "observation", "ipython", "function_call", "tool_call", "tool_response", "environment")
_WEIGHTS = ("weight", "train", "training")
"""Fields that say with 0 or false that a message is not to be trained on."""
_ROLE, _CONTENT = ("role", "from", "speaker"), ("content", "value", "text")
THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thought")
"""Fields that hold the thought of a message or a row."""
_SWITCHES = frozenset(("", "on", "off", "true", "false", "yes", "no", "none", "low", "medium", "high", "auto"))
THINK_MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
"""Marks that public traces put around a thought, opening and closing; in any case of letters."""
ANSWER_MARKS = (
    ("<answer>", "</answer>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<solution>", "</solution>"),
    ("<output>", "</output>"),
    ("<response>", "</response>"),
)
"""Marks around what follows the thought; those of the first two pairs may stand nowhere else."""
_THINK = re.compile("|".join(re.escape(mark) for pair in THINK_MARKS for mark in pair), re.IGNORECASE)
_STRAY = re.compile("|".join(re.escape(mark) for pair in ANSWER_MARKS[:2] for mark in pair), re.IGNORECASE)
_CHANNEL = re.compile(r"<\|(?:channel|start|message)\|>")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
DRAWN = r"\[asy\]|<asy>|<svg\b|\\begin\s?\{(?:asy|tikzpicture|pspicture|picture)\}"
"""Where a drawing begins."""
_PICTURE = re.compile(
    rf"<(?:image|video|audio)(?:[ _]?\d{{1,3}})?\s?/?>|{DRAWN}|<img\b|\\includegraphics\b"
    r"|(?<![0-9A-Za-z)])!\[[^\[\]]{0,300}\]\(",
    re.IGNORECASE,
)
_TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


class Message(NamedTuple):
    """One turn: user, assistant or system, its text, and what was thought before it in a field of its own."""

    role: str
    text: str
    thought: str = ""
    learned: bool = True
    """False: its data set says that nothing is to be learned from it (`weight: 0`)."""


class Talk(NamedTuple):
    """What a conversation asks: the turns before (oldest first), the problem, and the last answer, if there is one."""

    turns: list[dict[str, str]]
    problem: str
    response: Message | None


def is_messages(value: Any) -> bool:
    """Say whether a value is a list of messages, or the JSON text of one."""
    value = parsed(value) if isinstance(value, str) and value.lstrip()[:2] in ("[{", "[\n", "[ ") else value
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(each, dict) and (_role(each) or _round(each)) for each in value)


def read(value: Any) -> list[Message]:
    """Return a list of messages, each by its role; raises Unusable for what is none, for tools and for pictures."""
    if isinstance(value, str):
        value = transcript(value) or parsed(value)
    if not isinstance(value, list) or not value:
        raise Unusable("no messages", shown(value))
    found: list[Message] = []
    for each in value:
        if isinstance(each, Message):
            found.append(each)
            continue
        if not isinstance(each, dict):
            raise Unusable("no messages", shown(each))
        rounds = None if _role(each) else _round(each)
        found += [_message(each)] if rounds is None else rounds
    return found


def text_of(value: Any) -> str | None:
    """Return a value as text, of a message what it says; None where there is none."""
    if isinstance(value, dict) and _role(value):
        return whole(_message(value))
    return as_text(value)


def last_of(value: Sequence[Any], role: str) -> Any:
    """Return the last message of a role, as it stands in its list; None where there is none."""
    wanted = ROLES.get(role.lower(), role)
    for each in reversed(value):
        if isinstance(each, dict) and (said := _role(each)) and ROLES.get(said.lower(), said) == wanted:
            return each
    return None


def talk(found: Sequence[Message], system: str = "", *, answered: bool = True) -> Talk:
    """Return what messages ask and, with `answered`, the last answer; raises Unusable where they do not end so.

    `system` is the system turn of a row whose messages have none. Thoughts of earlier answers are left out of the
    turns, as chat templates leave them out.
    """
    rest, response = list(found), None
    if rest and rest[-1].role == "assistant":
        response = rest.pop()
    elif answered:
        raise Unusable("ends without an answer", f"the last turn is {rest[-1].role}'s" if rest else "no turns")
    if not rest or rest[-1].role != "user":
        raise Unusable("no question before the answer", f"roles: {', '.join(each.role for each in found)}"[:200])
    problem = rest.pop().text.strip()
    if system and not any(each.role == "system" for each in rest):
        rest.insert(0, Message("system", system))
    turns = [{"role": each.role, "content": _told(each)} for each in rest if each.text.strip()]
    for text in (problem, *(turn["content"] for turn in turns)):
        check_text(text)
    return Talk(turns, problem, response)


def parts(response: Message) -> tuple[str, str]:
    """Split a response at the mark that closes its thought: (reasoning, summary), one outer pair of marks taken off
    each.

    Reasoning is "" where nothing marks a thought. Raises Unusable where the two cannot be told apart, where a mark
    stands elsewhere, or where there is no summary.
    """
    text, thought = response.text.strip(), response.thought.strip()
    thought = unwrapped(thought, THINK_MARKS).strip()
    marks = [(mark.group().lower(), mark.start(), mark.end()) for mark in _THINK.finditer(text)]
    if marks:
        own, text = _split(text, marks)
        if own and thought and own != thought:
            raise Unusable("two thoughts", "one in its own field, another in the text")
        thought = own or thought
    summary = unwrapped(text, ANSWER_MARKS).strip()
    for name, part in (("reasoning", thought), ("summary", summary)):
        if (stray := _THINK.search(part) or _STRAY.search(part) or _CHANNEL.search(part)) is not None:
            raise Unusable("a mark inside the text", f"{stray.group()} in its {name}")
    if not summary:
        raise Unusable("no answer", "nothing follows the thought" if thought else "an empty response")
    return thought, summary


def whole(response: Message) -> str:
    """Return a response as one text, a thought of its own field in think tags before it."""
    thought = unwrapped(response.thought, THINK_MARKS).strip()
    if thought and not _THINK.search(response.text):
        return f"<think>{thought}</think>{response.text.strip()}"
    return response.text.strip()


def unwrapped(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return what stands between an opening and a closing mark at the ends of a text, in any case of letters; a text
    without such a pair as it is."""
    bare = text.strip()
    low = bare.lower()
    for opening, closing in pairs:
        if low.startswith(opening.lower()) and low.endswith(closing.lower()) and len(bare) >= len(opening + closing):
            return bare[len(opening) : len(bare) - len(closing)]
    return text


def check_text(problem: str) -> None:
    """Raise Unusable for a problem that stands beside a picture or holds a drawing; in code either is only text."""
    if picture := _PICTURE.search(_CODE.sub(" ", problem)):
        raise Unusable("needs a picture", picture.group())


def thought_of(row: dict[str, Any]) -> str:
    """Return the thought that a message or a row keeps in a field of its own, "" for none: a switch (`reasoning: on`)
    is none."""
    for name in THOUGHTS:
        value = row.get(name)
        if isinstance(value, str) and value.strip().lower() not in _SWITCHES:
            return value
    return ""


def transcript(text: str) -> list[Message]:
    """Return the turns of a text such as "\\n\\nHuman: …\\n\\nAssistant: …"; [] for any other text."""
    if not re.match(r"\s{0,4}Human:", text):
        return []
    pieces = _TRANSCRIPT.split(text.strip())
    said = {"Human": "user", "Assistant": "assistant"}
    return [Message(said[who], what.strip()) for who, what in zip(pieces[1::2], pieces[2::2], strict=True)]


def _role(message: dict[str, Any]) -> str | None:
    found = next((message[name] for name in _ROLE if message.get(name) is not None), None)
    return found if isinstance(found, str) else None


def _round(raw: dict[str, Any]) -> list[Message] | None:
    """Return the two turns of a round that is one object, None where it is none."""
    names = [next((name for name in either if raw.get(name) is not None), "") for either in (_ASKS, _SAYS)]
    if not all(names):
        return None
    return [Message(role, _content(raw[name])[0]) for role, name in zip(("user", "assistant"), names, strict=True)]


def _message(raw: dict[str, Any]) -> Message:
    said = _role(raw)
    role = ROLES.get((said or "").strip().lower())
    if role is None:
        tool = (said or "").lower() in _TOOLS
        raise Unusable("a tool's turn" if tool else "an unknown role", f"`{said}`")
    if raw.get("tool_calls") or raw.get("function_call"):
        raise Unusable("a tool's turn", "the answer calls a tool")
    text, inside = _content(next((raw[name] for name in _CONTENT if raw.get(name) is not None), ""))
    return Message(role, text, thought_of(raw) or inside, all(raw.get(name) not in (0, "0") for name in _WEIGHTS))


def _content(value: Any) -> tuple[str, str]:
    """Return the text of a message and the thought among its parts; raises Unusable for a picture."""
    if not isinstance(value, list):
        return as_text(value) or "", ""
    if len(value) > 1 and any(isinstance(part, str) for part in value):
        raise Unusable("not a text", f"several texts, and nothing says how they are joined: {shown(value)}")
    texts, thoughts = [], []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type", "text") if isinstance(part, dict) else ""
        if kind in ("thinking", "reasoning"):
            thoughts.append(str(part.get("thinking") or part.get("reasoning") or part.get("text") or ""))
        elif kind in ("text", "input_text", "output_text"):
            texts.append(as_text(part.get("text")) or "")
        else:
            raise Unusable(
                "needs a picture" if "image" in kind else "not a text", f"a part of kind {kind or shown(part)}"
            )
    return "".join(texts), "\n".join(thoughts)


def _told(turn: Message) -> str:
    """Return what an earlier turn said, without its thought."""
    if turn.role != "assistant" or not _THINK.search(turn.text):
        return turn.text.strip()
    return parts(turn)[1]


def _split(text: str, marks: list[tuple[str, int, int]]) -> tuple[str, str]:
    """Return what stands before and after the one closing mark; raises Unusable for any other arrangement."""
    pair = next(pair for pair in THINK_MARKS if marks[0][0] in (pair[0].lower(), pair[1].lower()))
    names = [name for name, _, _ in marks]
    opening, closing = pair[0].lower(), pair[1].lower()
    if names == [opening, closing] and marks[0][1] == 0:
        return text[marks[0][2] : marks[1][1]].strip(), text[marks[1][2] :].strip()
    if names == [closing]:
        return text[: marks[0][1]].strip(), text[marks[0][2] :].strip()
    told = "it never ends" if closing not in names else f"its marks: {' '.join(names)[:120]}"
    told = "something stands before it" if names == [opening, closing] else told
    raise Unusable("thought and answer cannot be told apart", told)
