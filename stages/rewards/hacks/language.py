"""Hacks against rewards for one language: reasoning in another, hidden where it is not counted or drowned in filler.

No input; `TRIALS` leaves: each of ten languages against those it is easily taken for, and the hiding places for four
pairs. A share of half the honest one is the most that a hidden foreign text may keep.
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
}
"""One thought, in ten languages."""
TAKEN_FOR = {
    "en": ("de", "fr", "zh"),
    "zh": ("ja", "en"),
    "ja": ("zh", "ko"),
    "ko": ("ja", "en"),
    "de": ("en", "fr"),
    "fr": ("en", "es"),
    "es": ("pt", "fr"),
    "ru": ("en", "de"),
    "pt": ("es", "en"),
    "ar": ("en", "ru"),
}
"""Language -> those it must be told from."""
HIDDEN = (("en", "de"), ("en", "zh"), ("zh", "en"), ("de", "en"))
"""(language asked for, language the hacks are written in)."""
HALF = 0.5


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
        behind["capitals"] = few + " " + " ".join(each.capitalize() for each in apart)
    return (
        *(Attack(f"in {name}", tagged("17", thought), HALF) for name, thought in behind.items()),
        Attack("filler after the thinking", f"<think>{theirs}</think> {mine * 3} <answer>17</answer>"),
        Attack("filler in the answer", tagged(f"{mine * 3} 17", theirs)),
        Attack("filler before the thinking", f"{mine * 3} <think>{theirs}</think> <answer>17</answer>"),
        Attack("one word again and again", tagged("17", f"{word} " * 300 + theirs), HALF),
        Attack("a second thought", f"<think>{few}</think> <answer>17</answer> <think>{theirs}</think>", HALF),
    )


def trial(language: str, others: tuple[str, ...], attacks: tuple[Attack, ...] = ()) -> Trial:
    """Return a trial in which a thought in `language` is honest and the same in the others is wrong."""
    wrong = tuple(tagged("17", SAID[other]) for other in others)
    name = f"{language} for {' or '.join(others)}"
    return Trial(name, row(language), (tagged("17", SAID[language]),), wrong, attacks, least=0.9)


TRIALS = (
    *(trial(language, others) for language, others in TAKEN_FOR.items()),
    *(trial(language, (other,), hiding(language, other)) for language, other in HIDDEN),
)
