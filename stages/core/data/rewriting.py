"""From a raw chain of thought to reasoning and summary, by rules or as tasks for a model; texts in, texts out.

R1-Zero's chains were kept where they were right and readable, then DeepSeek-V3 rewrote them: the thinking in the
language of the question, and a summary that is faithful to it and boxes the answer (DeepSeek-R1, arXiv 2501.12948v2,
B.3.2 and Listing 1). The tasks' wording is ours after that. The rules do the same work where chains are simple.
"""

from __future__ import annotations

import re

from stages.core import text

_TAG = re.compile(r"</?[A-Za-z][A-Za-z_]{0,30}>")
_STEP_COMMA = re.compile(r"((?:=[ ]?-?[0-9]+(?:\.[0-9]+)?|>[A-Z]))[,;，；](?=\s|$)")
_AFTER_WIDE_STOP = re.compile(r"([。！？])\s+")
_CLOSED = (".", "!", "?", "。", "！", "？", ":", "：")
_SAID = {"en": "The answer is {}.", "zh": "答案是 {}。"}


def tidy(reasoning: str, language: str) -> str:
    """Return a chain as clean sentences in its own lines: no tags, no spare white space, steps that commas run
    together set apart, and a full stop at the end of each line.

    Nothing else is changed and no step is left out; a tidy chain stays as it is.
    """
    lines = [_tidy_line(line, language) for line in _TAG.sub(" ", reasoning).splitlines()]
    return "\n".join(line for line in lines if line)


def _tidy_line(line: str, language: str) -> str:
    chinese = language.lower().startswith("zh")
    stop = "。" if chinese else "."
    line = _STEP_COMMA.sub(rf"\1{stop}", " ".join(line.split()))
    line = _AFTER_WIDE_STOP.sub(r"\1", line)
    return line if not line or line.endswith(_CLOSED) else line + stop


def bare_answer(summary: str) -> str:
    """Return the answer inside a summary: the last box, else what stands after "the answer is", else all of it,
    without a closing full stop."""
    boxes = text.boxed(summary)
    said = boxes[-1] if boxes else text.after_phrase(summary)
    return (summary if said is None else said).strip().rstrip(".。").strip()


def summary(answer: str, language: str) -> str:
    """Return the sentence that tells an answer to the user: `The answer is 18.` or `答案是 18。`."""
    return _SAID["zh" if language.lower().startswith("zh") else "en"].format(bare_answer(answer))


_LANGUAGES = {"en": "English", "zh": "Chinese"}

_TRANSLATE = """## Question
{question}

## Thought process
{reasoning}

---
Translate the thought process into the language of the question ({language}). Say all that it says and nothing else: \
keep every step, every mistake and every correction, and keep formulas as they are. Write in the first person, in \
short paragraphs, without headings and without code blocks. Begin with the translation right away and write nothing \
else. Do not solve the question yourself."""

_SUMMARISE = """## Question
{question}

## Thought process
{reasoning}

---
Write the solution that this thought process comes to, for the person who asked. Use the language of the question \
({language}). Be faithful to the thought process: add no step and no conclusion that is not in it. Show the key steps \
briefly and put the final answer into \\boxed{{}}. Begin with the solution right away and write nothing else. Do not \
solve the question yourself."""


def translation_task(question: str, reasoning: str, language: str) -> str:
    """Return what a model is asked to put a chain into the question's language (ISO 639-1)."""
    return _filled(_TRANSLATE, question, reasoning, language)


def summary_task(question: str, reasoning: str, language: str) -> str:
    """Return what a model is asked to write the summary of a chain."""
    return _filled(_SUMMARISE, question, reasoning, language)


def _filled(task: str, question: str, reasoning: str, language: str) -> str:
    named = _LANGUAGES.get(language.lower()[:2], language)
    return task.format(question=question, reasoning=reasoning, language=named)
