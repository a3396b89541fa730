"""Numbers in words: a short text enters, the same text with digits in their place leaves.

"one hundred twenty-one", 一百二十, siebzehn, "two and a half", "three quarters", "twenty-first", XIV. English numbers
are found anywhere in a text, others where they are the whole of it; numbers of Chinese characters in a run of them.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache

from stages.rewards.mathematics.lexicon import WORDS

TABLES: dict[str, dict[str, tuple[int, bool]]] = {
    name: {
        word: (int(value.lstrip("*")), value[0] == "*")
        for word, value in zip(text.split()[::2], text.split()[1::2], strict=True)
    }
    for name, text in WORDS["numerals"].items()
}
_EN, _PARTS = TABLES["en"], TABLES["parts"]
_CJK = re.compile(rf"[点點.{''.join(TABLES['zh'])}]*[{''.join(TABLES['zh'])}][点點.{''.join(TABLES['zh'])}]*")
_ONE_WORD = "|".join(sorted(_EN | TABLES["ordinals"], key=len, reverse=True))
_NUMBER = rf"(?:{_ONE_WORD})(?:(?:[\s-]+(?:and\s+)?|,\s)(?:{_ONE_WORD}))*"
_PART = "|".join(sorted(_PARTS, key=len, reverse=True))
_SPOKEN = re.compile(
    rf"(?<![^\W\d_])(?P<minus>(?:minus|negative)\s+)?(?:(?P<whole>{_NUMBER})\s+and\s+)?"
    rf"(?:(?P<above>a|an|{_NUMBER})[\s-]+(?P<part>{_PART})|(?P<number>(?:(?:a|an)\s+(?=hundred|thousand|million|dozen))?{_NUMBER}))"
    r"(?:\s+point\s+(?P<point>(?:(?:zero|one|two|three|four|five|six|seven|eight|nine)\s?)+))?(?![^\W\d_])",
    re.IGNORECASE,
)
_ROMAN = re.compile(r"(?=[MDCLXVI]{2})M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
_ROMANS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_AND = re.compile(r"[\s-]+(?:and|und|et|y|e|и)[\s-]+|[\s,]+|(?<=[a-zà-ÿ])-(?=[a-zà-ÿ])")


def as_digits(text: str) -> str:
    """Return a text whose only number is in words with digits in their place; any other text as it is."""
    if any(letter.isdigit() for letter in text) or not 0 < len(text) < 400:
        return text
    if _ROMAN.fullmatch(text):
        return str(_roman(text))
    if not text.isascii() and len(runs := _CJK.findall(text)) == 1 and (value := chinese(runs[0])):
        return text.replace(runs[0], value)
    found = [*_SPOKEN.finditer(text)]
    if len(found) == 1 and (digits := _spoken(found[0])) is not None:
        return f"{text[: found[0].start()]}{digits}{text[found[0].end() :]}"
    return text if found else _foreign(text)


def _spoken(match: re.Match[str]) -> str | None:
    """Return the digits of one English number in words."""
    number, above, whole = match["number"], match["above"], match["whole"]
    if above:
        top = Fraction(1) if above.lower() in ("a", "an") else _combined(above, _EN)
        first = _combined(whole, _EN) if whole else Fraction(0)
        if top is None or first is None or (whole and top >= _PARTS[match["part"].lower()][0]):
            return None
        value: Fraction | None = first + top / _PARTS[match["part"].lower()][0]
    else:
        if whole:
            number = f"{whole} and {number}"
        value = _combined(re.sub(r"^an?\s+", "", number, flags=re.IGNORECASE), _EN | TABLES["ordinals"])
    if value is None:
        return None
    digits = "".join(str(_EN[word][0]) for word in (match["point"] or "").lower().split())
    sign = "-" if match["minus"] else ""
    return f"{sign}{value}{'.' + digits if digits else ''}{' ' if match['point'] and match.group()[-1] == ' ' else ''}"


def _combined(text: str, table: dict[str, tuple[int, bool]]) -> Fraction | None:
    """Add up the words of a number: each multiplier takes the smaller numbers before it; None for "five three"."""
    stack: list[int] = []
    for word in _AND.split(text.strip().lower()):
        if word not in table:
            return None
        value, multiplies = table[word]
        if multiplies:
            taken = 0
            while stack and stack[-1] < value:
                taken += stack.pop()
            value *= taken or 1
            if stack and _room(stack[-1]) <= value:
                return None
        elif stack and not (value < _room(stack[-1]) or (stack[-1] in (60, 80) and 10 < value < 20)):
            return None
        stack.append(value)
    return Fraction(sum(stack)) if stack else None


def _room(value: int) -> int:
    """Numbers below this may follow a number in words: 100 after three hundred, none after seventeen."""
    size = 1
    while value and value % (10 * size) == 0:
        size *= 10
    return size if value else 0


def chinese(run: str) -> str:
    """Return the digits of 一百二十, 二十三点五 and 二〇二五; "" for what is no number."""
    table = TABLES["zh"]
    whole, point, rest = run.replace("點", "点").partition("点")
    if any(letter not in table for letter in whole + rest) or (point and not rest) or not whole:
        return ""
    digits = ["".join(str(table[letter][0]) for letter in part if not table[letter][1]) for part in (whole, rest)]
    if not any(table[letter][1] for letter in whole):
        number = digits[0] if len(whole) > 1 or whole in table else ""
    else:
        value = _combined(" ".join(letter for letter in whole if table[letter][0]), table)
        if value is not None and len(whole) > 1 and not table[whole[-1]][1] and table[whole[-2]][1]:
            size = table[whole[-2]][0]  # 二百七 is 270, 一万二 is 12000, 二百零七 is 207
            value += table[whole[-1]][0] * (max(size // 10, 1) - 1) if size > 10 else 0
        number = "" if value is None else str(value)
    return number and number + (f".{digits[1]}" if point else "")


def _foreign(text: str) -> str:
    """Return the digits of a text that is a number of another language from end to end."""
    plain = text.strip(" .。!").lower()
    for name in ("de", "fr", "es", "pt", "it", "ru", "ko"):
        table, words = TABLES[name], plain
        if pattern := _glued(name):
            if not pattern.fullmatch(plain.replace(" ", "")):
                continue
            words = " ".join(word for word in re.findall(_words(name), plain) if word != "und")
            found = _backwards(words, table)
        else:
            found = _combined(words, table)
        if found is not None:
            return str(found)
    return text


@cache
def _words(name: str) -> str:
    return "|".join(sorted((*TABLES[name], *(["und"] if name == "de" else [])), key=len, reverse=True))


@cache
def _glued(name: str) -> re.Pattern[str] | None:
    """The pattern of a language that writes its numbers as one word."""
    return re.compile(f"(?:{_words(name)})+") if name in ("de", "it", "ko") else None


def _backwards(words: str, table: dict[str, tuple[int, bool]]) -> Fraction | None:
    """Add up a number in which ones may stand before tens: ein und zwanzig."""
    said = words.split()
    for at in range(len(said) - 1):
        ones, tens = table[said[at]][0], table[said[at + 1]][0]
        if ones < 10 < tens < 100 and tens % 10 == 0 and not table[said[at + 1]][1]:
            said[at], said[at + 1] = said[at + 1], said[at]
    return _combined(" ".join(said), table)


def _roman(text: str) -> int:
    values = [_ROMANS[letter] for letter in text]
    return sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))
