"""What a word directly beside a number makes of it: the texts before and behind a number enter, whether they make
something else of it leaves: "the square of 64", "64の倍数", "64보다", "أكبر من 64", "64的两倍".

What may be absent beside a number is listed for each script in `lexicon.toml`; any other word is kept, and the number
is then no answer. In scripts that space their words it is also the word that governs the number: a preposition, and a
word before it which is no quantity of its own ("a length of 64" is one). Where something counted stands behind the
number ("they inflate 570 balloons"), any verb may stand before it.
"""

from __future__ import annotations

import re

from stages.rewards.mathematics.lexicon import WORDS

_SAID = WORDS["kept"]


def _any(name: str) -> str:
    return "|".join(sorted(_SAID[name].split(), key=len, reverse=True))


_DRESS = " \t\n$€£*_\\({[:=\"'“«"
_WORDS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*['’]?")
_ARTICLES = frozenset(_SAID["articles"].split())
_HEADS = frozenset(_SAID["heads"].split())
_GOVERNORS, _TIMES, _ALTERS = (frozenset(_SAID[name].split()) for name in ("governors", "times", "alters"))
_BY = re.compile(
    r".*(?:crease|grow|grew|rose|rise|fell|fall|drop|chang|exceed|given|denoted|differ|early|earlier|late|ahead|behind|up|down|shr[iau]nk|reduc|gain|lost|lose)"
)
_TO = re.compile(
    r"(?:equal|come|amount|sum|add|simplif|reduce|evaluate|lead|round|converge|tend|correspond|convert|\w+ases?$|\w+ased$"
    r"|drop|rise|rose|fall|fell|grow|grew|boil|work|expand|collapse|equivalent|up|down|out|due|us|is|answer)"
)
_COMMAND = re.compile(r"\\[A-Za-z]+$")
_NAMED = re.compile(r"[:=][\s$*_\\({\[]*$|\d\s?[^\W\d_]+\s$|[A-Za-z]{2,6}\s?\([-−]?$")
"""A label, a number's own unit or month, a function: `Resultat: 64`, 5 ft 6, 14 March 2025, sgn(-3)."""
_COUNTS = re.compile(r"[\s~-]*[^\W\d_]")
"""Behind a number: what is counted. "It covers 5 km" says what it counts, "kelipatan 64" says something of 64."""
_LINKS = frozenset(("to", "de"))
_SPACED = _HEADS | _TIMES | _GOVERNORS | _LINKS | {"by", "um", "with"} | frozenset(_SAID["spaced_before"].split())
_WITH = frozenset("left remain remains ends end ended up finishes are is be".split())  # noqa: SIM905
_CJK = "\u3041-\u30ff\u3400-\u9fff"
_BEFORE = re.compile(rf"(?:(?:{_any('cjk_before')})|(?<![等相])(?:{_any('thai_before')}))$")
_REFUSED = re.compile(rf"(?:{_any('cjk_refused')})$")
_COUNTED = _any("classifiers")
_HAN = re.compile(rf"\s?(?:(?:{_COUNTED})(?!{_any('cjk_turns')})|{_any('cjk_behind')})")
_SAYS_MORE = re.compile(
    r"[的の](?:两|二|三|四|五|六|七|八|九|十|几|半|[一二两三四五六七八九十]?分|平方|立方|倍|因|约|約)|倍数|因数|约数|約数|平方根|倒数|相反数"
)
_KOREAN = re.compile(
    rf"\s?(?:(?:{_any('korean_classifiers')})(?!\s?(?:보다|까지|부터|마다|미만|이상|이하))|(?:{_any('korean_behind')})(?![가-힣])"
    rf"|(?:이|가|은|는|을|를|로|으로)\s?(?:{_any('korean_verbs')}))"
)
_ARABIC = frozenset(_SAID["arabic_before"].split())
_HEBREW = frozenset(_SAID["hebrew_before"].split())
_POSTPOSED = re.compile(
    r"\s?(?:(?:से|का|के|की|को|पर|में|तक|गुना|এর|থেকে|র|গুণ)(?=\s|$))|['’](?!(?:t[ıiuü]r|d[ıiuü]r)\b)[a-zçğıöşü]{1,6}\s"
    r"|\s?-?(?:ish|odd|something)\b|\s(?:odd|katı|yarısı|karesi|küpü|kali lipat|lần số)\b",
    re.IGNORECASE,
)


def changes(before: str, after: str) -> bool:
    """Say whether what stands directly before or behind a number makes something else of it than an answer."""
    bare = before.rstrip(_DRESS)
    return _led(bare, after, named=_NAMED.search(before) is not None) or _followed(after.lstrip("$*_\\)}]"))


def _led(before: str, after: str, *, named: bool) -> bool:
    """Say whether the words before a number change it; `named`: what stands there is a label or a unit before it."""
    last = before[-1:]
    if _COMMAND.search(before):
        return False
    if not last.isalpha() and last not in "'’-\u0e31\u0e34\u0e35\u0e37\u0e47\u0e48\u0e49\u0e4c":
        return False
    if "\u3041" <= last <= "\u9fff":
        counted = _HAN.match(after) is not None
        return _REFUSED.search(before) is not None or not (counted or _BEFORE.search(before))
    if "\u0e00" <= last <= "\u0e7f":
        return _BEFORE.search(before) is None
    words = [word.lower() for word in _WORDS.findall(before[-60:])]
    while words and words[-1] in _ARTICLES:
        words.pop()
    if not words:
        return False
    *rest, word = words
    head = next((one for one in reversed(rest) if one not in _ARTICLES), "")
    if "\u0600" <= last <= "\u06ff":
        return word.removeprefix("و") not in _ARABIC and not (word == "على" and "حصل" in head)
    if "\u0590" <= last <= "\u05ff" or (last == "-" and "\u0590" <= before[-2:-1] <= "\u05ff"):
        return last == "-" or word not in _HEBREW
    return _governs(word, head, after) or not (named or len(word) == 1 or word in _SPACED or _COUNTS.match(after))


def _governs(word: str, head: str, after: str) -> bool:
    """Say whether a word before a number governs it, so that both are no quantity: half of, divisible by, prime to."""
    if word in ("by", "um"):
        return not head or _BY.match(head) is None
    if word in _LINKS and not head:  # what follows a verb: (is equal) to 64, (la réponse est) de 64
        return False
    if word == "to":
        return _TO.match(head) is None
    if word == "with":
        return head not in _WITH
    if word in _TIMES:
        return not after.strip()[:1].isalpha()
    if word in _ALTERS:
        return True
    return word in _GOVERNORS and head not in _HEADS


def _followed(after: str) -> bool:
    """Say whether the words behind a number change it: particles that compare, "of", multiples."""
    first = after.lstrip()[:1]
    if re.match(rf"[{_CJK}]", first):
        return _HAN.match(after) is None or _SAYS_MORE.search(after) is not None
    if "가" <= first <= "힣":
        return _KOREAN.match(after) is None
    return _POSTPOSED.match(after) is not None
