"""Every way the toolkit says no: one sentence of what, one runnable hint, and where.

What enters: the words of the place that noticed. What leaves: an exception `r1cli/main.py` turns into two lines and an
exit code. The tree:

    R1Error                                     exit 1: the work failed as reported
    ├── AskedWrongly                            exit 2: the request itself is wrong
    │   ├── RecipeError    (ValueError)         a recipe or an override
    │   ├── InputError     (ValueError)         a file, a row, an artifact of the wrong kind
    │   ├── MissingError   (LookupError)        an unknown artifact, file or recipe
    │   │   └── UnreachableError                something outside that cannot be asked now, and may be later
    │   └── ContractError  (ValueError)         template, tags, eos and pad that do not fit together
    ├── TamperedError      (ValueError)         sealed files that are no longer what was sealed
    ├── StageError         (RuntimeError)       a stage that could not do its work
    ├── EngineError        (RuntimeError)       an engine that cannot sample, read or renew its weights any more
    ├── DiskError          (OSError)            a full disk
    └── LockedError        (RuntimeError)       another process is building the same thing

Anything else that escapes is our bug (70); Ctrl-C is 130.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class R1Error(Exception):
    """A failure in words: `what` happened in one sentence, `hint` the way out, `where` as file:line or an address."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, hint: str = "", where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint.strip()
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what

    @property
    def told(self) -> str:
        """What and hint on one line, for where an error becomes a value."""
        return f"{self.what}: {self.hint}" if self.hint else self.what

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.hint, self.where)


class AskedWrongly(R1Error):
    """The request cannot be right as asked; nothing was started."""

    exit_code = 2


class RecipeError(AskedWrongly, ValueError):
    """A recipe, a pipeline or an override that cannot be understood."""


class InputError(AskedWrongly, ValueError):
    """A file, a row or an artifact that is not what the stage takes."""


class MissingError(AskedWrongly, LookupError):
    """An artifact, a file or a recipe nobody knows."""


class UnreachableError(MissingError):
    """Something outside, such as the hub, that cannot be asked now; the same command goes on once it can."""


class ContractError(AskedWrongly, ValueError):
    """A model contract that breaks training: pad equal to eos, or a template without its tags."""


class TamperedError(R1Error, ValueError):
    """Sealed files that no longer match the record."""


class StageError(R1Error, RuntimeError):
    """A stage that could not do its work."""


class EngineError(R1Error, RuntimeError):
    """A sampling engine as a whole that is of no use: not there, dead, or unable to take new weights."""


class DiskError(R1Error, OSError):
    """No space left; what was written so far stays resumable."""


class LockedError(R1Error, RuntimeError):
    """Another process holds the workspace."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word closest to `word` as `did you mean `x`? `, or the empty string when none is close."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`? " if close else ""


def _rebuild(kind: type[R1Error], what: str, hint: str, where: str) -> R1Error:
    return kind(what, hint=hint, where=where)
