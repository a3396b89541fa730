r"""What a sentence says about the numbers in it, in many languages: a text enters, the number it settles on leaves.

"17, not 18" and "17 rather than 18" settle on 17; "not 17", "at least 17", "17 or 18" and "twice 17" on nothing. Of
several numbers the last counts that no preposition governs: 17 in "17 of the 20 are left after 3 days".
"""

from __future__ import annotations

import re

from stages.rewards import sentences
from stages.rewards.mathematics import kept
from stages.rewards.mathematics.lexicon import EITHER, HEDGES, WORDS
from stages.rewards.mathematics.numbers import IN_TEXT, MAX_CHARACTERS, normal
from stages.rewards.sentence_words import Candidate

_SAID = WORDS["prose"]


_WORD = re.compile(r"(?<![\\A-Za-z])[^\W\d_]|[≠!]|\\ne")
_NUMBER = r"[-+]?\d[\d.,/]*"
_BOUND_BEHIND = re.compile(
    r"^[\s\w%$€]{0,12}?\b(?:or (?:more|less|fewer|greater|higher|lower|so)|and (?:above|up|below|over)|squared|cubed"
    r"|digits|(?:more|less|fewer|greater|larger|smaller|higher|lower) than \W?\d)",
    re.I,
)
_ASIDE = re.compile(
    r"[(（](?:which|since|because|as|not|see|many|where|so|that|out of|from|by|using|given|after|with)\b[^()（）]*[)）]"
    r"|,\s(?:which|that) (?:is|are|was|were)\s[^.;]{0,40}?\b"
    r"(?:times|more|less|fewer|half|twice|greater|larger|smaller)\b[^.;]*"
    r"|,?\s*\(?(?:i\.e\.|that is),?\s(?:about|approximately|roughly|around|some)\s[^;\n]*",
    re.I,
)
_EXPLAINED = re.compile(
    rf"(?<=\d)([^\d;.!?。,，、]{{0,15}})[,，、—–-]{{1,2}}\s?(?:{'|'.join(_SAID['explaining'])})[,:：]?\s?\d[\d.,]*"
    rf"(?<=\d)[^\W\d]{{0,3}}\s?(?:[x×*·+/÷−]|\\times|\\cdot|{'|'.join(_SAID['combining'])})\s?\d[^\n;.!?。]*",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(rf"{_SAID['concluding']}", re.IGNORECASE)
_STATES = re.compile(rf"{_SAID['concluding']}|{_SAID['stating']}", re.IGNORECASE)
_LABELLED = re.compile(
    rf"(?:[—–-]\s?)?(?:\b(?:see|cf\.?|siehe)\s)?(?<![^\W\d_])(?:{'|'.join(_SAID['labels'].split())})s?\s?[.#(]*\s?"
    rf"{_NUMBER}(?![\d.]*[A-Za-z^])\)?|第\s?{_NUMBER}\s?[步题问页章节]",
    re.IGNORECASE,
)
_GOVERNED = re.compile(
    rf"(?:(?<![^\W\d_])(?:{'|'.join(_SAID['governors'].split())})(?![^\W\d_])|i\.e\.,?|(?:for|if|when|where|at)\s\w\s?="
    r"|\b(?:after|by|before|when|while|without|from)\s\w+ing(?:\s(?:away|up|out|off|down|another|back))?"
    r"|分给|平均分给|给|每|经过|除以|乘以|用了?|花了?"
    r"|\bto\s(?!(?:about|be|get|give|find|have|make|yield|obtain|roughly|nearly|exactly|only|just)\b)[a-z]{3,}(?=\s))"
    r"\s*(?:(?:about|only|all|any|the|a|an|these|those|his|her|its|den|dem|les|los|las)\s+){0,2}[$€£(*\\]*$",
    re.IGNORECASE,
)
_CODE = re.compile(r"(?<!US)[A-Za-z][A-Za-z]$(?<!USD|EUR|GBP|CNY|RMB|INR)(?<!Rs)")  # before a digit: AZYUK2A, no USD17
_LISTED = re.compile(r"\d、[-\d./]{1,20}[^\d、]*$")  # 16、17
_TWISTS = frozenset(_SAID["twists"].split())
_RANGE = re.compile(r"\d\W*(?:to|bis|à|a|até|до|through)\s*\d|[^\W\d]{2}\s(?:of|von|de|di|из)\s\d", re.IGNORECASE)
_OUT_OF = re.compile(r"\S*\s?\bout of\b", re.IGNORECASE)
_CHECKED = re.compile(rf"(?<=[.!?。])\s*(?:{_SAID['checks']})\w*\s?[:：].*$", re.IGNORECASE | re.DOTALL)
_BETWEEN = re.compile(r"(?:\b(?:between|zwischen|entre|tra)\b|между|介于)[^.;]{1,30}$", re.IGNORECASE)
_CHECK = re.compile(rf"^\W*(?:{_SAID['checks']})", re.IGNORECASE)
_ORDINAL = re.compile(r"\bthe\s\d+(?:st|nd|rd|th)\s[a-z]{3}", re.IGNORECASE)
_HAS = re.compile(r"\banswer\s(?:has|contains)\b", re.IGNORECASE)
_REACHES = re.compile(
    r"(?:comes?|amounts?|equals?|adds?|sums?|rounds?|simplif\w+|reduces?|leads?|drops?|rises?|falls?|grows?|\w+ases?|\w+ased)\s(?:up\s)?to\s\W*$",
    re.IGNORECASE,
)


def settled(text: str) -> str:
    """Return a text without the numbers that it names only to deny them: "17, not 18" as "17"."""
    if len(text) > 4 * MAX_CHARACTERS or sum(map(str.isdigit, text)) < 2:
        return text
    for pattern, rest in ((_EXPLAINED, r"\1"), (_CHECKED, " "), (_ASIDE, " "), (_LABELLED, " ")):
        shorter = pattern.sub(rest, text)
        text = shorter if any(map(str.isdigit, shorter)) else text
    if not _WORD.search(text):
        return text
    found = [(match.start(), match.group().rstrip(".,")) for match in IN_TEXT.finditer(text)]
    return sentences.settled(text, [Candidate(at, at + len(number), number) for at, number in found])


def hedges(text: str) -> bool:
    """Say whether a text denies, bounds or doubts its number, offers a choice, or says something else of it."""
    if not _WORD.search(text):
        return False
    return bool(
        _HAS.search(text)
        or HEDGES.search(text)
        or EITHER.search(text)
        or _ORDINAL.search(text)
        or _LABELLED.search(text)
    )


def is_check(sentence: str) -> bool:
    """Say whether a sentence only checks an answer: "Check: 17 + 3 = 20"."""
    return _CHECK.match(sentence) is not None


def last_number(text: str) -> str | None:
    """Return the number that a text settles on as written, with an "or" and the number before it where they are joined;
    None where there is none, or where it is denied, bounded or part of another statement."""
    tail = normal(settled(text[-4 * MAX_CHARACTERS :]))
    labels = [match.span() for match in _LABELLED.finditer(tail)]
    found = [
        match
        for match in IN_TEXT.finditer(tail)
        if not _CODE.search(tail, max(0, match.start() - 4), match.start())
        and not tail[: match.start()].rstrip("{ ").endswith(("^", "_"))
        and not any(start <= match.start() < end for start, end in labels)
    ]
    sentence = (
        max((tail.rfind(end, 0, found[-1].start()) for end in ("\n", ". ", "! ", "? ")), default=-1) if found else -1
    )
    last_ones = [match for match in found if match.start() > sentence]
    free = [match for match in last_ones if not _governed(tail[max(0, match.start() - 40) : match.start()])]
    chosen = free or last_ones
    if not chosen:
        return None
    last = chosen[-1]
    before, after = tail[max(sentence + 1, last.start() - 60) : last.start()], tail[last.end() : last.end() + 30]
    clause = re.split(r"[;；,，。:：]\s|\d", before)[-1]
    if hedged_around(clause, after) or _BETWEEN.search(before):
        return None
    if _LISTED.search(text[-60:]) or re.search(rf"(?:{EITHER.pattern})\s?$", before, re.IGNORECASE):
        return f"or {last.group()}"
    if _CONCLUDES.search(tail, sentence + 1, last.start() - len(clause)) and not _STATES.search(clause + after):
        return None  # 23 left, and gave 7 away
    place = found.index(last)
    if place and re.fullmatch(
        rf"\s?,?\s?(?:{EITHER.pattern}|、|o|u|e|of)\s?[^\W\d]{{0,3}}\s?",
        tail[found[place - 1].end() : last.start()],
        re.I,
    ):
        return tail[found[place - 1].start() : last.end()]
    return last.group()


def only_number(text: str) -> str | None:
    """Return the one number of a text that no preposition governs, where it has others: 17 of 20 apples."""
    found = [*IN_TEXT.finditer(text)]
    free = [match for match in found if not _governed(text[max(0, match.start() - 40) : match.start()])]
    return (
        free[0].group()
        if len(free) == 1 < len(found)
        and not _RANGE.search(_OUT_OF.sub("of", text))
        and re.search(r"[^\W\d_]{2}", text)
        else None
    )


def denies(before: str, piece: str) -> bool:
    """Say whether the words before a piece of a sentence deny, bound or label it."""
    return hedges(f"{re.split(r'[;；,，。:：0-9]', before)[-1][-60:]}{piece}")


def _governed(before: str) -> bool:
    return _GOVERNED.search(before) is not None and not _REACHES.search(before)


def twists(text: str) -> bool:
    """Say whether a word before a number makes another of it: twice, a multiple."""
    return not _TWISTS.isdisjoint(text.lower().split())


def hedged_around(before: str, after: str) -> bool:
    """Say whether the words before and behind a number deny or bound it."""
    near = after[:14]
    behind = re.match(rf"\W{{0,3}}(?:[이가은는]\s?)?(?:{_SAID['hedging_signs']}|değil)", near)
    wrong = re.match(r"[)$*]*\s*(?:(?:is|was)\s)?(?:not\b|n['’]t\b|incorrect\b|wrong\b|false\b)", after, re.IGNORECASE)
    words = {word.lower() for word in re.findall(r"[^\W\d_]+", before[-24:])[-2:]}
    return bool(
        HEDGES.search(f"{before}0")
        or behind
        or wrong
        or _BOUND_BEHIND.match(after)
        or words & _TWISTS
        or _HAS.search(before + after[:8])
        or kept.changes(before, after)
    )
