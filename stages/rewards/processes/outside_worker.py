"""The worker behind `outside.py`: {completion, row, contract, options} enter, [value, reason] leaves, by the user's
function that the command line names.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

from stages.core.contract import Contract
from stages.core.errors import RecipeError
from stages.core.recipe import functions
from stages.core.rows import Prompt
from stages.rewards.processes.serving import Answer, serve
from stages.rewards.registry import verdict_of

MEMORY_SHARE = 0.5
"""Part of the machine's memory that a worker may address: the function is the user's, and may well load a model."""


def start() -> Answer | str:
    """Import the function; whatever its module does at import becomes a sentence."""
    import asyncio  # here, for the parent imports this file to name it

    name = sys.argv[1]
    try:
        function = functions.load(name, f"reward `{name}`", "")
    except RecipeError as error:
        return f"cannot be used by a worker: {error}"
    except (Exception, SystemExit) as error:  # noqa: BLE001  the module is the user's and may do anything
        return f"cannot be imported: {type(error).__name__}: {error}"[:500]
    loop = asyncio.new_event_loop()  # one for all questions: a client that the function keeps belongs to its loop

    async def awaited(result: Any) -> Any:
        return await result

    def answer(question: dict[str, Any]) -> tuple[float | None, str]:
        tags = {key: tuple(question["contract"][key]) for key in ("think_tags", "answer_tags")}
        contract = Contract(**{**question["contract"], **tags})
        try:
            result = function(question["completion"], Prompt(**question["row"]), contract, **question["options"])
            if inspect.isawaitable(result):
                result = loop.run_until_complete(awaited(result))
            return verdict_of(result)
        except SystemExit as error:
            return None, f"the reward left by sys.exit({error.code!r})"[:200]
        except Exception as error:  # noqa: BLE001  its sample is what it costs
            return None, f"the reward raised {type(error).__name__}: {error}"[:200]

    return answer


if __name__ == "__main__":
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    serve(start, memory_bytes=int(memory * MEMORY_SHARE))
