"""The worker behind `stream.py`: the questions of a group of rows enter (mostly a group of one), their verdicts leave.

It scores with the function that training scores with. A row that hangs or crashes it costs that row.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from stages.core.errors import RecipeError
from stages.core.rows import Prompt
from stages.rewards import registry, scoring
from stages.rewards.files import lines
from stages.rewards.processes.serving import Answer, serve
from stages.rewards.verdict import Verdict

MEMORY_BYTES = 4 * 2**30


def start() -> Answer | str:
    """Read which rewards are asked for, with their options, from the command line."""
    asked = json.loads(sys.argv[1])
    rewards, options = dict.fromkeys(asked["rewards"], 1.0), asked["options"]
    for name in rewards:
        registry.load(name, options.get(name))  # a user's module may take longer to import than a row may

    def score(group: list[dict[str, Any]]) -> dict[str, Any]:
        began = time.perf_counter()
        rows = [Prompt(**one["row"]) for one in group]
        texts = [_counted(one["completion"], one["tokens"]) for one in group]
        try:
            said = scoring.score(texts, rows, lines.contract(group[0]["prefill"]), rewards, options=options)
        except RecipeError as error:  # a user's function that no fresh process can import
            said = [{name: Verdict(None, str(error)[:200]) for name in rewards}] * len(group)
        return {"verdicts": said, "seconds": (time.perf_counter() - began) / len(group)}

    return score


def _counted(text: str, tokens: int | None) -> str:
    return text if tokens is None else scoring.Counted(text, tokens)


if __name__ == "__main__":
    serve(start, memory_bytes=MEMORY_BYTES)
