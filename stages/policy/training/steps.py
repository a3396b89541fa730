"""What a training run says of itself, as values: one report a step enters, events leave; what a checkpoint remembers.

Trainers make reports and know no events; callbacks read reports and know no trainer. Nothing here knows torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from stages.core.errors import StageError

if TYPE_CHECKING:
    from stages.core.run.runner import Work


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one optimizer step came to."""

    step: int
    """Its number, from 1."""
    steps: int
    """Steps of the whole run."""
    figures: dict[str, Any]
    """Name -> value: means over what was trained on, rates, seconds (`seconds_*`)."""


class StepCallback(Protocol):
    """Who is told of steps, in the trainer's own thread and before the step's checkpoint is written."""

    def on_step(self, report: StepReport) -> None:
        """A step is done."""


class Silent:
    """Hears everything and tells nothing: the callback of every process but the first. `then` is what must be done in
    all of them after each step."""

    def __init__(self, then: Callable[[StepReport], None] | None = None) -> None:
        self.then = then

    def on_step(self, report: StepReport) -> None:
        """A step is done."""
        if self.then is not None:
            self.then(report)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_: None


class StepLogger:
    """Turns reports into events: `step` every `runtime.log_every` steps and at the last, `progress` at each."""

    def __init__(
        self, work: Work, live: Sequence[str] = ("loss",), then: Callable[[StepReport], None] | None = None
    ) -> None:
        self.work = work
        self.live = live
        """Figures of a step that its progress event repeats, where it has them."""
        self.then = then
        """Called after the events of each step."""

    def on_step(self, report: StepReport) -> None:
        """Emit the events of a step."""
        if report.step % self.work.runtime.log_every == 0 or report.step == report.steps:
            self.work.emit("step", step=report.step, **report.figures)
        shown = {name: float(report.figures[name]) for name in self.live if name in report.figures}
        self.work.emit("progress", done=report.step, total=report.steps, unit="steps", figures=shown)
        if self.then is not None:
            self.then(report)


@dataclass(kw_only=True)
class RunState:
    """What a checkpoint remembers besides weights, optimizer and schedule; fields are plain values, so it is JSON."""

    def write(self, file: Path) -> None:
        """Write all fields as JSON, from which `read` makes the same values."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read what `write` wrote. Raises StageError for other fields than this build's."""
        raw = json.loads(file.read_text(encoding="utf-8"))
        wanted = {part.name for part in fields(cls)}
        if set(raw) != wanted:
            raise StageError(
                f"the checkpoint was written by another version (it differs in {sorted(wanted ^ set(raw))[0]})",
                hint="remove the unfinished work and start afresh: `r1 artifacts prune`",
            )
        return cls(**raw)
