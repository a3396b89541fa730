"""The compile reward: does the program in the answer compile? 1, 0, or None leaves; it is never run.

Python is compiled to bytecode, C++ to a program, both inside the sandbox: a compiler too can be made to hang or to
eat memory. Alone it pays for any program that compiles, `pass` too; it is meant beside `code`, or to start with.
"""

from __future__ import annotations

from stages.core.contract import Contract
from stages.core.errors import StageError
from stages.core.rows import Prompt
from stages.rewards.code import Isolation, ended, unjudged
from stages.rewards.declared import Reward
from stages.rewards.programs import extraction
from stages.rewards.programs.sandbox import ISOLATIONS, OVER, run
from stages.rewards.verdict import Example, Verdict, shorten


@Reward(
    "compile",
    pays="the program compiles",
    values="0 or 1",
    needs=("tests",),
    waits=True,
    remembers=True,
    trials=("hacks.code:COMPILE",),
)
def reward(completion: str, row: Prompt, contract: Contract, *, isolation: Isolation = "bwrap") -> Verdict:
    """Return 1 if the completion's program compiles, else 0; None without a compiler, a sandbox or a verdict in time.

    `isolation` as in `code.reward`; raises ValueError for an unknown one.
    """
    if isolation not in ISOLATIONS:
        raise ValueError(f"`isolation` is {' or '.join(ISOLATIONS)}, not `{isolation}`")
    try:
        source = extraction.find(completion, row, contract)
        if source.fault:
            return Verdict(0.0, source.fault)
        job = extraction.compile_job(source)
        if job is None:
            return Verdict(None, extraction.NO_COMPILER)
        outcome = run(job, extraction.COMPILING, isolation)[0]
    except ValueError as error:
        return Verdict(None, str(error))
    except StageError as error:
        return Verdict(None, shorten(error.told, 190))
    if not outcome.judged:
        return Verdict(None, unjudged(outcome))
    if outcome.status in OVER:
        return Verdict(0.0, f"compiling goes over the limit of {OVER[outcome.status]}")
    return (
        Verdict(0.0, shorten(f"does not compile: {ended(outcome)}", 190)) if outcome.code else Verdict(1.0, "compiles")
    )


_CPP = {"verifier": "code", "meta": {"code_language": "cpp"}}

EXAMPLES = (
    Example("```python\ndef f(x):\n    return x + 1\n```", {"verifier": "code"}, 1.0, "Python"),
    Example("x = 1", {"verifier": "code"}, 1.0, "an answer without a fence is the program"),
    Example("```python\ndef f(x) return x\n```", {"verifier": "code"}, 0.0, "a syntax error"),
    Example("```cpp\nint main() { return 0; }\n```", _CPP, 1.0, "C++"),
    Example("```cpp\nint main() { return nothing; }\n```", _CPP, 0.0, "an unknown name"),
    Example("", {"verifier": "code"}, 0.0, "nothing at all"),
)
