"""What a reward of this project declares about itself, at the place where it is written.

A module of `stages/rewards` with a line that begins `@Reward(` is a reward's module: `registry` finds it there, without
a list of names; scoring, the audit and the tests of examples read the declaration. A new reward is one file:

    @Reward("polite", pays="says please", values="0 or 1", trials=("polite:TRIALS",))
    def reward(completion, row, contract, *, word: str = "please") -> Verdict: ...

    EXAMPLES = (Example("please", {}, 1.0, "it says so"), ...)

Two keyword-only parameters are no options of a recipe but told by scoring: `tokens`, the completion's length in tokens
(a group's lengths), and `judged`, which returns what another reward says of the same completion (of each in a group),
worked out once however many ask.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from stages.rewards.verdict import Verdict

LENGTH = "tokens"
"""The keyword that gets a completion's length in tokens (a group's lengths); None where nobody counted."""
JUDGED = "judged"
"""The keyword that gets a `Judged`, or of a group reward a `JudgedGroup`."""
Function = Callable[..., Any]
"""`(completion: str, row: Prompt, contract: Contract, **options) -> Verdict`: pure, deterministic, never raises on any
text; options come from the recipe as keywords. Of a group reward `(completions, row, contract, …) -> list[Verdict]`."""
Judged = Callable[[str], Verdict]
"""Name of a reward -> its verdict on the same completion."""
JudgedGroup = Callable[[str], list[Verdict]]
"""Name of a reward -> its verdicts on the completions of the same group."""
F = TypeVar("F", bound=Function)
_MARK = re.compile(r"^@Reward\(", re.MULTILINE)


@dataclass
class Reward:
    """A reward and what is to be known of it before it is called; as a decorator it leaves the function as it is."""

    name: str
    """How recipes name it."""
    _: KW_ONLY
    pays: str
    """What it pays for, in a few words."""
    values: str
    """The values it gives, in words: `0 or 1…`, `0 to 1…`."""
    needs: tuple[Literal["gold", "tests"], ...] = ()
    """What a row must have: `gold`, an answer to compare with, which a general prompt lacks; `tests` to run."""
    group: bool = False
    """Whether it looks at all completions of one prompt together."""
    waits: bool = False
    """Whether it may wait for another process."""
    remembers: bool = False
    """Whether each verdict is another process's work: only then is finding an old one cheaper than judging again."""
    builds_on: tuple[str, ...] = ()
    """Rewards whose verdicts it asks `judged` for."""
    aside: Mapping[str, Any] = field(default_factory=dict)
    """Options it has where a recipe does not name it and another builds on it, over those that the recipe gives."""
    trials: tuple[str, ...] = ()
    """Tables of `hacks.trial.Trial` made for it, as `module:NAME` below `stages.rewards`."""
    function: Function = field(init=False, repr=False, compare=False)
    """What judges."""

    def __call__(self, function: F) -> F:
        """Enter the function under this name. Raises ValueError for a name that another module has."""
        known = DECLARED.get(self.name)
        if known is not None and known.function.__module__ != function.__module__:
            raise ValueError(f"{known.function.__module__} and {function.__module__} both declare `{self.name}`")
        self.function = function
        DECLARED[self.name] = self
        return function

    def takes(self, keyword: str) -> bool:
        """Say whether the function has a keyword: LENGTH or JUDGED."""
        return keyword in inspect.signature(self.function).parameters


DECLARED: dict[str, Reward] = {}
"""Name -> declaration, of the modules that were imported so far; `registry.ENTRIES` has all."""


def modules() -> list[str]:
    """Return the modules of this package that declare a reward, in the order of their names; none is imported."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [f"{__package__}.{file.stem}" for file in files if _MARK.search(file.read_text(encoding="utf-8"))]
