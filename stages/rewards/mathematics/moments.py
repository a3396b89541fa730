"""Times of day, dates, days of the week, and quotients with a remainder: two answers enter, the same or not leaves.

Where the gold is one of these the answer must say one too: 14 is not March 14. A time that does not say which half of
the day it is in may be either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable

from stages.rewards.mathematics.lexicon import EITHER, HEDGES
from stages.rewards.mathematics.numerals import as_digits

_HALF = r"(?P<half>[ap]\.?\s?m\b\.?|noon|midnight)"
_CHINESE_HALF = r"(?P<zh>上午|早上|凌晨|下午|晚上|中午)?"
_CLOCK = re.compile(
    rf"(?<![\d:.]){_CHINESE_HALF}\s?(?P<hour>\d{{1,2}})(?:"
    rf"\s?[:：](?P<minute>\d{{2}})(?:[:：](?P<second>\d{{2}}))?(?!\d)(?:\s?{_HALF})?"
    rf"|\s?(?:点|點|时(?=\d))(?:(?P<minutes>\d{{1,2}})分?|(?P<thirty>半))?"
    rf"|\s?{_HALF.replace('half', 'late')}|\s?o['’]clock)",
    re.IGNORECASE,
)
_PAST = re.compile(
    r"\b(?P<part>quarter|half|\w+)\s(?:minutes?\s)?(?P<way>past|to|after|before)\s(?P<hour>\w+)\b(?:\s?" + _HALF + ")?",
    re.IGNORECASE,
)
_MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905
_MONTH = rf"(?P<name>{'|'.join(f'{name[:3]}(?:{name[3:]}|t)?' if name[3:] else name for name in _MONTHS)})\.?"
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b{_MONTH}\s(?:the\s)?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?!\d)(?:\s?,?\s?(?P<year>\d{{4}}))?",
        rf"(?<!\d)(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH}(?![a-z])(?:\s?,?\s?(?P<year>\d{{4}}))?",
        r"(?:(?P<year>\d{4})\s?年)?\s?(?P<month>\d{1,2})\s?月\s?(?P<day>\d{1,2})\s?[日号號]",
        r"(?<!\d)(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})(?!\d)",
        r"(?<!\d)(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})(?!\d)",
        r"^(?P<month>\d{1,2})/(?P<day>\d{1,2})$",
    )
)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY = re.compile(
    r"\b(mon|tue|wed|thu|fri|sat|sun)(?:(?:s|nes|rs|ur)?day|s|rs?)?\b\.?|(?:星期|周|礼拜|週)([一二三四五六日天])",
    re.IGNORECASE,
)
_REMAINDER = re.compile(r"(\d+)\s?(?:R|r|余|余数|remainder|rem\.?|…{2}|\.{6})\s?(\d+)")


def same(given: str, wanted: str) -> bool | None:
    """Compare an answer with a gold that is a time, a date, a weekday or a quotient with remainder; None for others."""
    if "\\" in wanted or len(wanted) > 60 or not any(letter.isalpha() or letter in ":-/…" for letter in wanted):
        return None
    for read in (_weekday, _remainder, _date):
        gold = read(wanted)
        if gold is not None and _hedges(given) and not _hedges(wanted):
            return False
        if gold is not None and (read is not _date or not _DATES[5].fullmatch(wanted)):
            return read(given) == gold or (read is _date and _same_date(read(given), gold))
    gold_time = _time(wanted)
    return None if gold_time is None else _same_time(_time(given), gold_time)


def _hedges(text: str) -> bool:
    return HEDGES.search(text) is not None or EITHER.search(text) is not None


def is_time(text: str) -> bool:
    """Say whether a text is a time of day and nothing else."""
    return _CLOCK.fullmatch(text.strip()) is not None and ":" in text


def _same_date(first: Hashable, second: Hashable) -> bool:
    """Say whether two dates are the same day; a year may be absent on one side."""
    if not isinstance(first, tuple) or not isinstance(second, tuple):
        return False
    return bool(first[1:] == second[1:] and (not first[0] or not second[0]))


def _same_time(first: tuple[int, bool] | None, second: tuple[int, bool]) -> bool | None:
    if first is None:
        return None
    if first[0] == second[0]:
        return True
    if first[1] == second[1] or (max(first[0], second[0]) >= 46800 and not max(first, second)[1]):
        return False if first[1] else None
    return True if (first[0] - second[0]) % 43200 == 0 and second[1] != first[1] else None


def _only(found: list[Hashable]) -> Hashable | None:
    return found[0] if len(set(found)) == 1 else None


def _weekday(text: str) -> Hashable | None:
    days = [
        _WEEKDAYS.index(one[0].lower()) if one[0] else min("一二三四五六日天".index(one[1]), 6)
        for one in _WEEKDAY.findall(text)
    ]
    return _only(list(days)) if not any(map(str.isdigit, text)) else None


def _remainder(text: str) -> Hashable | None:
    match = _REMAINDER.fullmatch(text.strip())
    return ("remainder", *map(int, match.groups())) if match else None


def _date(text: str) -> Hashable | None:
    found: list[Hashable] = []
    for pattern in _DATES:
        for match in pattern.finditer(text):
            said = match.groupdict()
            name = (said.get("name") or "")[:3].lower()
            month = 1 + [one[:3] for one in _MONTHS].index(name) if name else int(said["month"])
            found.append((int(said.get("year") or 0), month, int(said["day"])))
        if found:
            break
    return _only(found)


def _time(text: str) -> tuple[int, bool] | None:
    """Return the seconds since midnight and whether the text says which half of the day; None for no time of day."""
    if text.strip().lower() in ("noon", "midday", "midnight", "12 noon", "12 midnight", "正午"):
        return (0 if "midnight" in text.lower() else 43200), True
    matches = [*_CLOCK.finditer(text)]
    if len(matches) == 1:
        said = matches[0].groupdict()
        half = (said["half"] or said["late"] or "").lower()[:1]
        half = half or {"上": "a", "早": "a", "凌": "a", "下": "p", "晚": "p", "中": "n"}.get(
            (said["zh"] or " ")[0], ""
        )
        minute = int(said["minute"] or said["minutes"] or (30 if said["thirty"] else 0))
        return _seconds(int(said["hour"]), minute, int(said["second"] or 0), half)
    match = _PAST.search(text)
    number: Callable[[str], int] = lambda word: int(digits) if (digits := as_digits(word)).isdigit() else -1  # noqa: E731
    if match is None or number(match["hour"].lower()) < 0:
        return None
    minute = {"quarter": 15, "half": 30}.get(match["part"].lower(), number(match["part"].lower()))
    if not 0 <= minute < 60:
        return None
    hour = number(match["hour"].lower()) - (match["way"].lower() in ("to", "before"))
    return _seconds(
        hour, minute if match["way"].lower() in ("past", "after") else 60 - minute, 0, (match["half"] or "")[:1].lower()
    )


def _seconds(hour: int, minute: int, second: int, half: str) -> tuple[int, bool] | None:
    if hour > 24 or minute > 59:
        return None
    if half in ("a", "m"):
        hour %= 12
    elif half in ("p", "n"):
        hour = hour % 12 + 12
    return (hour * 60 + minute) * 60 + second, bool(half)
