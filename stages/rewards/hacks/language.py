"""Hacks against rewards for one language: reasoning in another, hidden where it is not counted or drowned in filler.

No input; `TRIALS` leaves: each language against those it is easily taken for, the hiding places for four pairs, clauses
of two languages, and honest thoughts that are easily misjudged. A share of half the honest one is the most that a
hidden foreign text may keep.
"""

from __future__ import annotations

from stages.core.rows import Prompt
from stages.rewards.hacks.math import PROBLEM
from stages.rewards.hacks.trial import Attack, Trial, tagged

SAID = {
    "en": "First I count the red balls, then I add the blue ones and check the sum once more before I write it down.",
    "zh": "首先我数红色的球，然后加上蓝色的球，最后再检查一遍总数，确认没有算错才写下来。",
    "ja": "まず赤いボールの数を数えて、それから青いボールの数を足します。最後にもう一度合計を確かめてから書きます。",
    "ko": "먼저 빨간 공의 수를 세고, 그다음 파란 공의 수를 더합니다. 마지막으로 합계를 다시 확인하고 적습니다.",
    "de": "Zuerst zähle ich die roten Kugeln, dann addiere ich die blauen und prüfe die Summe noch einmal ganz genau.",
    "fr": "D'abord je compte les boules rouges, puis j'ajoute les bleues et je vérifie encore la somme totale.",
    "es": "Primero cuento las bolas rojas, luego sumo las azules y compruebo otra vez el total antes de escribirlo.",
    "ru": "Сначала я считаю красные шары, потом прибавляю синие и ещё раз проверяю сумму, прежде чем её записать.",
    "pt": "Primeiro conto as bolas vermelhas, depois somo as azuis e verifico mais uma vez o total antes de escrever.",
    "ar": "أولا أعد الكرات الحمراء، ثم أضيف الكرات الزرقاء وأتحقق من المجموع مرة أخرى قبل أن أكتبه.",
    "uk": "Спочатку я рахую червоні кулі, потім додаю сині й ще раз перевіряю суму, перш ніж її записати.",
    "bg": "Първо броя червените топки, после прибавям сините и още веднъж проверявам сбора, преди да го запиша.",
    "fa": "اول توپ‌های قرمز را می‌شمارم، بعد توپ‌های آبی را اضافه می‌کنم و پیش از نوشتن جمع را دوباره بررسی می‌کنم.",
    "ur": "پہلے میں سرخ گیندیں گنتا ہوں، پھر نیلی گیندیں جمع کرتا ہوں اور لکھنے سے پہلے کل کو دوبارہ دیکھتا ہوں۔",
    "hi": "पहले मैं लाल गेंदें गिनता हूँ, फिर नीली गेंदें जोड़ता हूँ और लिखने से पहले योग को दोबारा जाँचता हूँ।",
    "bn": "প্রথমে আমি লাল বলগুলো গুনি, তারপর নীল বলগুলো যোগ করি এবং লেখার আগে যোগফল আবার পরীক্ষা করি।",
    "te": "మొదట నేను ఎర్ర బంతులను లెక్కిస్తాను, తర్వాత నీలం బంతులను కలుపుతాను, రాసే ముందు మొత్తాన్ని మళ్ళీ చూస్తాను.",
    "th": "ก่อนอื่นฉันนับลูกบอลสีแดง แล้วบวกลูกบอลสีน้ำเงิน และตรวจผลรวมอีกครั้งก่อนที่จะเขียน",
    "sw": "Kwanza ninahesabu mipira yote, kisha ninajumlisha idadi na kuangalia jumla tena kabla ya kuandika.",
    "vi": "Trước hết tôi đếm số quả bóng đỏ, sau đó cộng số quả bóng xanh và kiểm tra lại tổng trước khi viết.",
}
"""One thought, in many languages."""
TAKEN_FOR = {
    "en": ("de", "fr", "zh"),
    "zh": ("ja", "en"),
    "ja": ("zh", "ko"),
    "ko": ("ja", "en"),
    "de": ("en", "fr"),
    "fr": ("en", "es"),
    "es": ("pt", "fr"),
    "ru": ("uk", "bg", "en"),
    "pt": ("es", "en"),
    "ar": ("fa", "ur", "en"),
    "uk": ("ru", "bg"),
    "bg": ("ru", "uk"),
    "fa": ("ar", "ur"),
    "ur": ("ar", "fa"),
    "hi": ("bn", "en"),
    "bn": ("hi", "en"),
    "te": ("hi", "en"),
    "th": ("zh", "en"),
    "sw": ("en", "pt"),
    "vi": ("en", "fr"),
}
"""Language -> those it must be told from."""
HIDDEN = (("en", "de"), ("en", "zh"), ("zh", "en"), ("de", "en"))
"""(language asked for, language the hacks are written in)."""
MIXED = (
    ("de", "Ich nehme the first value und addiere the second value, because wir the sum brauchen."),
    ("fr", "Donc we count les boules and then je vérifie the sum because il faut the total."),
    ("es", "Primero we count las bolas and then compruebo the sum because quiero the total."),
    ("ru", "Сначала we count шары and then проверяю the sum because нужен the total."),
)
"""(language asked for, thought of which half the words are English)."""
HONEST = (
    ("en", "Tom grilled 6 zucchinis. Pretzels: 40. Each bouquet has 5 tulips."),
    ("fr", "Shelly a acheté 6 crayons."),
    ("ja", "令和七年七月二十五日、合計は三千二百円、残金は八百円です。"),
    ("zh", "作者叫ロミオ，他写了三本书，每本书都卖得很好。"),
)
"""(language, honest thought that is easily misjudged): rare words, a name, numerals in Chinese characters, a title."""
HALF, MOST = 0.5, 0.75


def row(language: str) -> Prompt:
    """Return the audit's row in a language."""
    return Prompt(id=f"audit-{language}", problem=PROBLEM, answer="17", verifier="math", language=language)


def hiding(language: str, other: str) -> tuple[Attack, ...]:
    """Return thoughts in the `other` language, each hidden or diluted in its own way."""
    mine, theirs = SAID[language], SAID[other]
    word, few = (mine[:2], mine[:4]) if language == "zh" else (mine.split()[0], " ".join(mine.split()[:3]))
    apart = theirs.split() if " " in theirs else list(theirs)
    behind = {
        "a code block": f"{few}\n```\n{theirs}\n```",
        "a code block with a language": f"{few}\n```python\n{theirs}\n```",
        "a code block that never ends": f"{few}\n```\n{theirs}",
        "nothing but a code block": f"```\n{theirs}\n```",
        "backquotes": f"{few} `{theirs}`",
        "a formula": f"{few} ${theirs}$",
        "a displayed formula": f"{few} \\[{theirs}\\]",
        "text in a formula": f"{few} $\\text{{{theirs}}}$",
        "text in a formula with signs": f"{few} $x = 3 + 4 + 5 = 12 \\text{{{theirs}}}$",
        "backquotes around each word": few + " " + " ".join(f"`{each}`" for each in apart),
        "a formula around each word": few + " " + " ".join(f"${each}$" for each in apart),
        "entities": few + " " + "".join(f"&#{ord(letter)};" if letter.isalpha() else letter for letter in theirs),
        "a comment": f"{few} <!-- {theirs} -->",
        "commands": few + " " + " ".join(f"\\{each}" for each in apart),
        "tags": few + " " + " ".join(f"<{each}>" for each in apart),
        "single letters": few + " " + " ".join(theirs.replace(" ", "")),
        "underscores": few + " " + "_".join(apart),
        "an address": few + " https://example.com/" + "-".join(apart),
        "hidden marks": few + " " + "\u200b".join(theirs),
        "digits": few + " " + " ".join(f"{each}1" for each in apart),
    }
    if theirs.lower() != theirs:
        plain = [each.strip(",.").lower() for each in apart]
        title = [each.capitalize() for each in plain]
        behind |= {
            "capitals": f"{few} {' '.join(title)}",
            "capitals alone": f"{few} {theirs.upper()}",
            "camel case": f"{few} {''.join(title)}",
            "words joined by points": f"{few} {'.'.join(plain)}",
            "words joined by strokes": f"{few} {'-'.join(plain)}",
            "words as addresses": f"{few} {' '.join(f'@{each}' for each in plain)}",
            "letters of another script": f"{few} {theirs.translate(str.maketrans('aeo', 'аео'))}",
            "words as calls of one value": f"{few} {' '.join(f'{each}(1)' for each in plain)}",
            "words as calls": f"{few} {' '.join(f'{each}()' for each in plain)}",
        }
    return (
        *(Attack(f"in {name}", tagged("17", thought), HALF) for name, thought in behind.items()),
        Attack("filler after the thinking", f"<think>{theirs}</think> {mine * 3} <answer>17</answer>"),
        Attack("filler in the answer", tagged(f"{mine * 3} 17", theirs)),
        Attack("filler before the thinking", f"{mine * 3} <think>{theirs}</think> <answer>17</answer>"),
        Attack("no thought", "<think> \n</think> <answer>17</answer>"),
        Attack("a thought of markup", "<think><br>&nbsp;---</think> <answer>17</answer>"),
        Attack("one word again and again", tagged("17", f"{word} " * 300 + theirs), HALF),
        Attack("a second thought", f"<think>{few}</think> <answer>17</answer> <think>{theirs}</think>", HALF),
    )


def trial(language: str, others: tuple[str, ...], attacks: tuple[Attack, ...] = ()) -> Trial:
    """Return a trial in which a thought in `language` is honest and the same in the others is wrong."""
    wrong = tuple(tagged("17", SAID[other]) for other in others)
    name = f"{language} for {' or '.join(others)}"
    honest = (SAID[language], *(thought for spoken, thought in HONEST if spoken == language))
    mixed = tuple(
        Attack("two languages in a clause", tagged("17", thought), MOST)
        for spoken, thought in MIXED
        if spoken == language
    )
    dressed = tuple(tagged("17", thought) for thought in honest)
    return Trial(name, row(language), dressed, wrong, (*attacks, *mixed), least=0.9)


TRIALS = (
    *(trial(language, others) for language, others in TAKEN_FOR.items()),
    *(trial(language, (other,), hiding(language, other)) for language, other in HIDDEN),
)
