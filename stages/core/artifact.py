"""The things that travel between rooms: kinds, their records, and the draft a stage returns.

What enters: a sealed folder and its `artifact.json`. What leaves: an `Artifact` with an address (`zero@3`), its files
and its record. A kind is a class, so a stage's annotations are its whole contract.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from stages.core.contract import Contract
from stages.core.errors import TamperedError
from stages.core.fingerprint import fingerprint
from stages.core.rowfile import RowFile
from stages.core.rows import Conversation, Labelled, Preference, Prompt, Sample

RECORD = "artifact.json"
"""Written last: its presence means the folder is whole."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything the store knows about a sealed artifact."""

    kind: str
    name: str
    number: int
    fingerprint: str
    payload: dict[str, Any]
    inputs: dict[str, str]
    """Input key -> address of the artifact that was consumed."""
    stage: str
    version: int
    metrics: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Relative path -> sha256, of every file but the record itself."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """commit, dirty, argv, versions, device, time (ISO 8601, UTC), seconds; `source` for imports."""
    seal: str = ""
    """sha256 of everything above, so that an edited figure shows as an edited file does."""

    @property
    def address(self) -> str:
        """`name@number`."""
        return f"{self.name}@{self.number}"

    def digest(self) -> str:
        """What `seal` must be: sha256 of the canonical record without its seal."""
        return fingerprint({**asdict(self), "seal": ""})

    def text(self) -> str:
        """The record as the bytes of artifact.json hold it."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Record:
        """The record of a sealed folder; raises TamperedError when it cannot be read as one."""
        path = Path(folder) / RECORD
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{f.name: raw[f.name] for f in fields(cls)})
        except (ValueError, KeyError, TypeError) as error:
            hint = f"restore it from a pack, or remove the folder {folder} and build it again"
            raise TamperedError("the record cannot be read", where=str(path), hint=hint) from error


@dataclass(frozen=True)
class Artifact:
    """A sealed folder; nothing in it ever changes."""

    path: Path
    record: Record
    kind: ClassVar[str] = "artifact"

    @property
    def address(self) -> str:
        """`name@number`, what people say."""
        return self.record.address

    @property
    def name(self) -> str:
        """The name people gave."""
        return self.record.name

    @property
    def number(self) -> int:
        """The number the store gave, counted from 1."""
        return self.record.number

    @property
    def fingerprint(self) -> str:
        """sha256 of the record's payload, as hex."""
        return self.record.fingerprint

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures the stage reported when it finished."""
        return self.record.metrics


class Model(Artifact):
    """A policy: config, safetensors, tokenizer, contract.json."""

    kind = "model"

    @property
    def contract(self) -> Contract:
        """How prompts are written for this model and its completions read."""
        return Contract.read(self.path / "contract.json")


class Adapter(Model):
    """Low-rank matrices over a base that is an artifact of its own: adapter_config.json and adapter_model.safetensors,
    with the config, tokenizer and contract of the model that the two make. Taken wherever a model is."""

    kind = "adapter"

    @property
    def base(self) -> tuple[str, str]:
        """Address and fingerprint of the base, as the record names it."""
        given = self.record.inputs
        key = next(key for key in ("base", "model", "student") if key in given)
        return given[key], str(self.record.payload["inputs"][key])


class Endpoint(Artifact):
    """A model that only speaks, behind an OpenAI-compatible server: endpoint.json says where, and what it said of
    itself when it was first asked."""

    kind = "endpoint"

    @property
    def declared(self) -> dict[str, Any]:
        """`address` (openai:URL#model) and `said` (what the server lists and answers as)."""
        found: dict[str, Any] = json.loads((self.path / "endpoint.json").read_text(encoding="utf-8"))
        return found

    @property
    def contract(self) -> Contract:
        """How it is asked and read: the bare problem is the user's message, its reasoning stands between the usual
        marks, and tokens are known to its server alone."""
        listed = self.declared["said"].get("listed") or {}
        positions = listed.get("max_model_len")
        return Contract(
            template="{prompt}",
            template_name="chat",
            eos_ids=[],
            pad_id=-1,
            tokenizer_sha256="",
            max_positions=positions if isinstance(positions, int) and positions > 0 else 0,
        )


class Prompts(Artifact):
    """Problems with gold answers: prompts.jsonl."""

    kind = "prompts"

    def rows(self) -> RowFile[Prompt]:
        """All rows, in file order."""
        return RowFile(self.path / "prompts.jsonl")


class Rollouts(Artifact):
    """Scored completions: prompts.jsonl, samples.jsonl and the contract.json they were asked under."""

    kind = "rollouts"

    def prompts(self) -> RowFile[Prompt]:
        """The prompts that were asked, in file order."""
        return RowFile(self.path / "prompts.jsonl")

    def samples(self) -> RowFile[Sample]:
        """All completions, the samples of a prompt following each other."""
        return RowFile(self.path / "samples.jsonl", Sample)

    @property
    def contract(self) -> Contract:
        """How the prompts were asked: what completions are read by."""
        return Contract.read(self.path / "contract.json")


class Conversations(Artifact):
    """Responses to imitate: conversations.jsonl."""

    kind = "conversations"

    def rows(self) -> RowFile[Conversation]:
        """All rows, in file order."""
        return RowFile(self.path / "conversations.jsonl", Conversation)


class Preferences(Artifact):
    """What a judge learns from: preferences.jsonl holds pairs (helpful) or labelled points (safe), not both."""

    kind = "preferences"

    def pairs(self) -> RowFile[Preference]:
        """All rows as pairs; one that is a point raises InputError when it is read."""
        return RowFile(self.path / "preferences.jsonl", Preference)

    def points(self) -> RowFile[Labelled]:
        """All rows as labelled points; one that is a pair raises InputError when it is read."""
        return RowFile(self.path / "preferences.jsonl", Labelled)


class Logprobs(Artifact):
    """A teacher's likeliest tokens along its traces: cache.json, contract.json, tokenizer.json, shard-*.safetensors."""

    kind = "logprobs"


class Judge(Model):
    """A learned reward model."""

    kind = "judge"


class Scores(Artifact):
    """An evaluation: scores.json and completions.jsonl."""

    kind = "scores"


class Divergence(Artifact):
    """How far two models are apart, and how well that is estimated: kl.json and completions.jsonl."""

    kind = "divergence"


class Release(Artifact):
    """A model as it leaves: a plain folder, or one .gguf."""

    kind = "release"


KINDS: dict[str, type[Artifact]] = {
    kind.kind: kind
    for kind in (
        *(Model, Adapter, Endpoint, Prompts, Rollouts, Conversations, Preferences),
        *(Logprobs, Judge, Scores, Divergence, Release),
    )
}


class InputKind(NamedTuple):
    """What a stage takes as one of its inputs."""

    kinds: tuple[type[Artifact], ...]
    """Any one of these."""
    required: bool

    @property
    def said(self) -> str:
        """The kinds in words: `model or endpoint`."""
        return said(self.kinds)


def accepted(kinds: tuple[type[Artifact], ...]) -> tuple[str, ...]:
    """The kinds by name, and adapters where models are taken."""
    return (*(kind.kind for kind in kinds), *[Adapter.kind] * (Model in kinds))


def said(kinds: tuple[type[Artifact], ...]) -> str:
    """Kinds in words: `model or endpoint`."""
    return " or ".join(kind.kind for kind in kinds)


@dataclass(frozen=True)
class Draft:
    """What `run` returns: an artifact not sealed yet, whose files lie under `work.path`."""

    kind: type[Artifact]
    """The class of the artifact to be."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Figures for the record; plain values."""
