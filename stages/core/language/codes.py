"""What people call languages: a tag, a code or a name enters, the ISO 639-1 code of a language told from others leaves.

Public data sets write `zh-CN`, `cn`, `Chinese`, `zho` and `中文` for one language.
"""

from __future__ import annotations

import re

_NAMES = """am amh amharic | ar ara arabic العربية | bg bul bulgarian български | bn ben bengali bangla বাংলা |
de deu ger german deutsch | el ell gre gr greek ελληνικά | en eng english us gb |
es spa spanish español espanol castellano | fa fas per ir persian farsi فارسی |
fr fra fre french français francais | gu guj gujarati | he heb iw hebrew עברית | hi hin hindi हिन्दी हिंदी |
hy hye arm armenian | it ita italian italiano | ja jpn jp japanese 日本語 日语 日文 | ka kat geo georgian |
km khm khmer | kn kan kannada | ko kor kr korean 한국어 韩语 | lo lao | mk mkd mac macedonian македонски |
ml mal malayalam | my mya bur burmese | nl nld dut dutch nederlands | pa pan punjabi |
pt por portuguese português portugues | ru rus russian русский | si sin sinhala |
sw swa swh swahili kiswahili | ta tam tamil தமிழ் | te tel telugu తెలుగు | th tha thai ไทย ภาษาไทย |
uk ukr ua ukrainian українська | ur urd pk urdu اردو | vi vie vn vietnamese việt |
zh zho chi cn cmn yue chinese mandarin cantonese 中文 汉语 漢語 普通话"""
_OTHERS = "id ind indonesian indonesia bahasa | pl pol polish polski | tr tur turkish türkçe"
"""Languages that public sets are in and that nothing here tells from others."""


def _by_name(groups: str) -> dict[str, str]:
    return {name: group.split()[0] for group in groups.split("|") for name in group.split()}


_CODES = _by_name(_NAMES) | _by_name(_OTHERS)
_SEPARATOR = re.compile(r"[\s_()/,.-]+")
_TAG = re.compile(r"[A-Za-z]{2}(?:[-_][A-Za-z0-9]{2,8})?")
KNOWN = frozenset(_by_name(_NAMES).values())
"""The languages that are told from others."""


def base(language: str) -> str | None:
    """Return the code of a tag (`zh`, `zh-CN`, `PT_br`), another code (`jp`, `zho`) or a name (`English`, `中文`);
    None for a language that is not told from others."""
    code = _code(language)
    return code if code in KNOWN else None


def tag(language: str) -> str | None:
    """Return what a data set calls a language as a tag: a name or another code as its code (`Chinese` and `cn` are
    `zh`), a tag with a region as it is (`zh-CN`); None for what is neither."""
    language = language.strip()
    if _TAG.fullmatch(language) and language.lower() not in _CODES:
        return language
    return _code(language)


def is_code(language: str, code: str) -> bool:
    """Say whether a tag begins with its code: `zh-CN` with `zh`, not `cn`."""
    return _SEPARATOR.split(language.strip().lower())[0] == code


def _code(language: str) -> str | None:
    words = [word for word in _SEPARATOR.split(language.strip().lower()) if word]
    if not words:
        return None
    if (code := _CODES.get(words[0])) is not None:
        return code
    return next((_CODES[word] for word in words if len(word) > 3 and word in _CODES), None)  # `Simplified Chinese`
