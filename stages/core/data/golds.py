r"""The gold inside an answer text, several golds of one row, and golds that only say that there is none.

A solution or an answer enters; what it commits to leaves, in one piece or, where several boxes belong together, in
several. A list of answers is read by one rule, which is here, in `r1 prepare` and in `r1 rewards`. A place holder
(`proof`, `N/A`, `see solution`, `nan`) is no answer: whoever trains on it teaches the model to say that word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stages.core import text
from stages.core.data.messages import ANSWER_MARKS, DRAWN
from stages.core.data.values import Unusable, parsed

OF_PARTS = ("final_answer", "final_answers", "solutions", "roots", "all_answers")
"""Columns whose list is one answer of several parts (OlympiadBench's roots)."""
_MARK = re.compile(r"(?<!#)####(?!#)[ \t]*(.*)")
_HEADING = re.compile(r"^ {0,3}#{1,6} ", re.MULTILINE)
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)\s*([0-9A-Za-z]+)(?![\w{])")
_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|boxed|operatorname|rm|bf)\b")
_DRESS = re.compile(r"[\\${}\[\]()<>*_`\"'«»“”„.,:;!。，、：；！（）【】「」\s‐‑‒–—―−-]+")
_SEE = (
    r"(?:please )?(?:see|refer to|cf|check|look at)(?: (?:the|my|our|full|detailed|attached|original|official)){0,3}"
    r"(?: above| below| (?:proof|solution|explanation|answer|text|work|figure|diagram|graph|image|picture|sketch"
    r"|drawing|attachment|detail)s?(?: \d{1,3})?(?: above| below)?)"
)
_VARY = (
    r"(?:(?:student|sample|possible|individual|the) )?(?:answer|response|solution)s? (?:(?:may|will|can|could|might) )?"
    r"(?:vary|varies|differ)"
)
_PHRASES = re.compile(
    rf"{_SEE}|{_VARY}"
    r"|#(?:ref|value|error|name|num|null|div/0)\??|object object|(?:missing|no|empty|null) (?:value|data|entry|content)"
    r"|(?:to be|not yet|none|not) (?:determined|announced|added|given|stated|supplied|recorded|yet)|coming soon|pending"
    r"|(?:(?:insert|enter) )?(?:your|the|an?) answer(?: (?:here|goes here))?|(?:answer )?placeholder|no ans|unk"
    r"|left (?:as an exercise|(?:to|for) the reader)(?: (?:to|for) the reader)?"
    r"|(?:答案|证明|證明|解答|解析|过程|過程|具体|具體)?(?:请|請)?(?:详|詳|参|參|看)?(?:见|見|如)"
    r"(?:上|下|上文|下文|[上下附]?[图圖](?:所示)?|解析|解答|答案|证明|證明|详解|詳解|(?:解析|解答|证明|證明)?[过過]程)"
    r"|无|無|不适用|不適用|待定|待补充|未给出|未提供|暂缺|[证證]明?过?程?略"
    r"|(?:the |a )?proofs?(?: (?:is )?(?:omitted|completed?|required|needed|only|problem|question|above|below))?"
    r"|(?:to )?(?:prove|be proved|be proven)(?: it| that)?|proved|proven|q ?e ?d"
    r"|(?:(?:the|an) )?(?:final )?answers? (?:is |was )?not (?:found|given|provided|available|known|applicable)"
    r"|(?:no|without an?) (?:(?:final|correct|numerical|explicit|definite) )?answers?"
    r"(?: (?:is |was )?(?:given|provided|available|found|needed|required))?"
    r"|not (?:found|available|applicable|provided|given|specified|known|sure|answered)"
    r"|n ?/ ?a|notfound|notavailable|nan|null|none|undef|unknown|unanswered|unspecified|missing|omitted"
    r"|tbd|tba|todo|no response|no output|idk|i (?:don t|do not) know|solution(?: omitted)?"
)
_LEAD = re.compile(
    r"[\s*_$]{0,8}"
    r"(?:(?:the |my |our )?(?:(?:final|correct) )?(?:answers?|ans|solution)(?:\s{0,3}[:：=]| (?:is|are)\b:?)"
    r"|答案?\s{0,3}(?:[:：]|是|为|為))[\s*_]{0,8}",
    re.IGNORECASE,
)
"""What stands before an answer: `Answer:`, `the final answer is`."""
_PICTURE = re.compile(
    rf"(?:{DRAWN})(?:(?!{DRAWN}).)*?"
    r"(?:\[/asy\]|</asy>|</svg>|\\end\s?\{(?:asy|tikzpicture|pspicture|picture)\})"
    r"|!\[[^\[\]]*\]\([^()]*\)|<img\b[^<>]*>|\\includegraphics\s?(?:\[[^\[\]]*\])?\s?\{[^{}]*\}"
    r"|[<\[](?:image|img|picture|figure|video|audio)(?:[ _]?\d{1,3})?\s?/?[>\]]",
    re.IGNORECASE | re.DOTALL,
)
_PICTURE_FILE = re.compile(r"\S+\.(?:png|jpe?g|gif|svg|webp|bmp|tiff?)(?:[?#]\S*)?|data:image/\S+", re.IGNORECASE)
_SIGNS = frozenset(("\\square", "\\blacksquare", "\\qed", "□", "■", "∎"))
_NAMES = frozenset(("NA", "N.A.", "N.A", "#N/A", "#NA", "<NA>", "NaN", "NaT"))
"""Place holders by their very letters: Na is sodium."""
_ABROAD = """
    略 证明 證明 证明略 證明略 见解析 見解析 详见解析 詳見解析 见证明 见答案 见解答 解析略 答案略 无答案 無答案 暂无
    暂无答案 未知 无法确定答案 没有答案 沒有答案 证明题 证明见解析 証明 証明略 証明終 解答なし 解なし省略 答えなし
    省略 不明 該当なし 증명 증명생략 생략 풀이참조 정답없음 답없음 해설참조 доказательство доказано доказать
    нетответа неизвестно смрешение чтд ответанет доведення preuve démonstration démontrer voirsolution
    voirlasolution pasderéponse aucuneréponse inconnu demostración demostrar verlasolución versolución sinrespuesta
    desconocido noencontrado noaplica demonstração prova demonstrar semresposta verasolução verasoluçao desconhecido
    nãoencontrado dimostrazione dimostrare vedisoluzione nessunarisposta sconosciuto beweis zubeweisen siehelösung
    siehelosung keineantwort unbekannt keineangabe bewijs zieoplossing geenantwoord onbekend dowód brakodpowiedzi
    nieznane důkaz bevis kanıt ispat cevapyok bilinmiyor chứngminh khôngcóđápán xemlờigiải برهان إثبات لايوجدجواب
    해설참고 풀이참고 смотрирешение неуказано неуказан нетданных sansréponse voircorrigé nonrenseigné 証明は省略
    模範解答なし 解答参照 解説参照 暂无解析 解析略 过程略 siehebuch
    הוכחה איןתשובה प्रमाण सिद्धकरें अज्ञात พิสูจน์ ไม่มีคำตอบ bukti tidakadajawaban απόδειξη
"""
_OTHERS = frozenset(_ABROAD.split())
"""The same in other languages, without spaces."""


def listed(value: Any) -> list[Any] | None:
    """Return the answers of a value that is a list of them, or a text that holds a list of texts as JSON; None for one
    answer."""
    if isinstance(value, str) and value.lstrip()[:1] == "[" and value.rstrip()[-2:-1] == '"':
        try:
            found = parsed(value)
        except Unusable:
            return None
        value = found if isinstance(found, list) and all(isinstance(each, str) for each in found) else value
    return value if isinstance(value, list) else None


def are_parts(answers: Sequence[Any], column: str, verifier: str) -> bool:
    """Say whether several answers are the parts of one, all of them needed: numbers, option letters (a question with
    several right options) and what stands in a column of `OF_PARTS`. Of other lists of texts any one is right."""
    return column in OF_PARTS or verifier == "choice" or not all(isinstance(each, str | None) for each in answers)


def of_row(answer: str, meta: Mapping[str, Any]) -> list[str]:
    """Return a row's golds, any one of which is right: its `meta["answers"]` where that is a list of texts, else its
    answer."""
    several = meta.get("answers")
    return (
        several if isinstance(several, list) and several and all(isinstance(one, str) for one in several) else [answer]
    )


def extract(answer: str, pattern: str = "") -> list[str]:
    r"""Return the gold inside an answer text: by `pattern`, else, within its last answer tags if it has any, after a
    `####` in its last line, else in its last \boxed{} with those that "and", "or" or a comma join to it, else after
    "the answer is", else all of it.

    [] where there is none: `pattern` does not match, or a box never closes. Raises Unusable for boxes that differ and
    are not joined: it cannot be told which of them is meant.
    """
    if pattern:
        match = re.search(pattern, answer)
        return [match.group(1).strip()] if match and match.group(1) is not None else []
    whole = _unmarked(answer.strip())
    mark = _MARK.search(whole, whole.rfind("\n") + 1) if "####" in whole else None
    if mark and mark.group(1).strip():
        return [mark.group(1).strip()]
    if "\\boxed" in whole or "\\fbox" in whole:
        return _boxed(whole)
    if "\n" not in whole:
        return [whole] if whole else []
    said = text.after_phrase(whole.replace("####", " "))  # a heading there, since it is not the last line's mark
    if said:
        return [said]
    return [] if _HEADING.search(whole) else [whole]


def is_missing(gold: str, real: Collection[str] = ()) -> bool:
    """Say whether a gold only says that there is no answer; never for one of `real`, whose case does not count."""
    bare = gold.strip()
    if bare.isdecimal():
        return False
    if real and bare.casefold() in {each.strip().casefold() for each in real}:
        return False
    if not bare or bare in _NAMES or bare.strip("$ ") in _SIGNS or _is_picture(bare):
        return True
    if len(bare) <= 80 and (lead := _LEAD.match(bare)):
        return is_missing(bare[lead.end() :], real)
    if len(bare) > 80:
        return False
    folded = _COMMAND.sub(" ", unicodedata.normalize("NFKC", bare).casefold())
    said = " ".join(_DRESS.sub(" ", folded).split())
    if not said:  # dashes and dots, an empty list as JSON writes it; `\\{\\}` is the empty set
        return "\\" not in bare.replace('\\"', '"')
    return _PHRASES.fullmatch(said) is not None or said.replace(" ", "") in _OTHERS or set(said) <= {"?"}


def _unmarked(answer: str) -> str:
    """Return what stands in the last pair of answer tags; of other marks, the pair around all of it is taken off."""
    if "</" not in answer and "<|" not in answer:  # no closing mark
        return answer
    low = answer.lower()
    for at, (opening, closing) in enumerate(ANSWER_MARKS):
        start, end = low.rfind(opening), low.rfind(closing)
        around = start == 0 and end == len(low) - len(closing)
        if 0 <= start < end and (around or at < 2):
            return answer[start + len(opening) : end].strip()
    return answer


def _is_picture(gold: str) -> bool:
    """Say whether a gold is nothing but drawings, pictures and links to them."""
    if "/" not in gold and not _PICTURE.search(gold):
        return False
    rest = _PICTURE.sub(" ", gold)
    words = rest.split()
    said = [word for word in words if "/" not in word or not _PICTURE_FILE.fullmatch(word.strip("()[]<>,;\"'"))]
    return (rest != gold or len(said) < len(words)) and not _DRESS.sub("", "".join(said))


def _boxed(answer: str) -> list[str]:
    boxes = [box.strip() for box in text.boxed(answer) if box.strip()]
    if not boxes:
        bare = _BARE_BOX.findall(answer)
        return bare[-1:] if bare and not _OPEN_BOX.search(answer) else []
    if len(set(boxes)) == 1:
        return boxes[:1]
    found = text.marked(answer)
    joined = found.text.split(" , ") if found and found.how == "box" else []
    if not set(boxes) <= set(joined):
        raise Unusable("several answers", f"boxes: {' / '.join(dict.fromkeys(boxes))}"[:200])
    return joined
