"""A store with a whole small history in it: base and data imported, R1-Zero trained, both evaluated on two splits.

The artifacts are real (sealed through the store, completions judged by the rewards); only the "model" that wrote the
completions is a seeded pen, so that a page can be made and looked at in a second.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages import evaluate
from stages.core.artifact import Artifact, Record
from stages.core.contract import R1_ZERO_TEMPLATE, Contract
from stages.core.fingerprint import fingerprint
from stages.core.rows import Prompt, write_rows
from stages.core.run.events import Events
from stages.core.sampling import Completion, Finish
from stages.core.stats import scores
from stages.core.storage.store import Store
from stages.rewards.grading import Grader

CONTRACT = Contract(
    template=R1_ZERO_TEMPLATE,
    template_name="r1_zero",
    eos_ids=[1],
    pad_id=0,
    tokenizer_sha256="0" * 64,
    max_positions=512,
)
HOSTILE = '</p><script>alert("x")</script><img src=x onerror=alert(1)>\x00\u202egnp.exe'
SAMPLINGS = (evaluate.Sampling(temperature=0.6, top_p=0.95), evaluate.Sampling(temperature=1.0, top_p=1.0))


def store_with_history(home: Path, problems: int = 9, samples: int = 4, steps: int = 60) -> Store:
    """Return a store that holds base@1, the prompts, zero@1 and its four evaluations."""
    store = Store(home)
    seal(store, "base", "model", "import", {}, seconds=0.4, source="world:base")
    for split in ("train", "validation", "heldout", "harder"):
        seal(
            store,
            f"world-{split}",
            "prompts",
            "import",
            {},
            prompts=_problems(split, problems),
            source=f"world:{split}",
        )
    inputs = {"model": "base@1", "prompts": "world-train@1", "validation": "world-validation@1"}
    seal(store, "zero", "model", "rl", inputs, steps=steps, seconds=187.2)
    for split in ("heldout", "harder"):
        for model, skill in (("base", 0.12), ("zero", 0.93 if split == "heldout" else 0.71)):
            given = {"model": f"{model}@1", "prompts": f"world-{split}@1"}
            name = f"{model}-{split}"
            seal(store, name, "scores", "eval", given, asked=(_problems(split, problems), samples, skill), seconds=21.7)
    return store


def seal(store: Store, name: str, kind: str, stage: str, inputs: dict[str, str], **what: Any) -> Artifact:
    """Write and seal one artifact; `what` says which files it gets."""
    payload = {"stage": stage, "version": 1, "recipe": {"name": name, "seed": 1}, "inputs": inputs}
    with store.workspace(name, fingerprint(payload)) as folder:
        log = Events(folder / "events.jsonl")
        if "steps" in what:
            _train(log, what["steps"])
            (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        log.close()
        if "prompts" in what:
            write_rows(folder / "prompts.jsonl", what["prompts"])
        if "asked" in what:
            _evaluate(folder, *what["asked"], seed=name)
        provenance = {
            "commit": "3f9c2e17ab54d08e6c11",
            "dirty": False,
            "device": {"asked": "auto", "used": "cpu (2 threads)", "cores": 2},
            "time": what.get("when", "2026-11-20T05:12:44+00:00"),
            "argv": ["/usr/bin/r1", *_asked(name, stage, inputs, what.get("source", ""))],
            "versions": {"torch": "2.13.0", "trl": "1.16.0"},
            "seconds": what.get("seconds", 1.0),
            "source": what.get("source", ""),
        }
        record = Record(
            kind=kind,
            name=name,
            number=0,
            fingerprint=fingerprint(payload),
            payload=payload,
            inputs=inputs,
            stage=stage,
            version=1,
            provenance=provenance,
        )
        return store.seal(folder, record)


def _asked(name: str, stage: str, inputs: dict[str, str], source: str) -> list[str]:
    if source:
        return ["artifacts", "import", source, "--name", name]
    return [stage, "--name", name, *(f"inputs.{key}={value}" for key, value in inputs.items())]


RECIPE = """stage: rl
name: zero
inputs:
  model: world:base           # recipes/r1_zero.yaml:5
  prompts: world:train        # recipes/r1_zero.yaml:5
recipe:
  rewards:
    accuracy: 1.0             # default
    format: 1.0               # default
  group_size: 16              # default
  learning_rate: 0.0003       # recipes/r1_zero.yaml:9
  kl_weight: 0.001            # default
  reference_steps: 20         # command line
"""


def _problems(split: str, count: int) -> list[Prompt]:
    chance = random.Random(f"problems {split}")
    rows = []
    for index in range(count):
        family = ("sum", "sum", "words")[index % 3]
        terms = [chance.randint(2, 40) for _ in range(5 if split == "harder" else 4)]
        text = "What is " + " + ".join(map(str, terms)) + "?"
        if index == 0:
            text += HOSTILE
        rows.append(
            Prompt(f"{split}-{index}", text, str(sum(terms)), "math", family=family, split=split, meta={"terms": terms})
        )
    return rows


def _completion(chance: random.Random, row: Prompt, skill: float) -> str:
    terms: Sequence[int] = row.meta["terms"]
    if chance.random() > 0.35 + 0.6 * skill:
        return f" The answer is {sum(terms) + chance.choice((0, 0, 1, 10))}.{HOSTILE if chance.random() < 0.2 else ''}"
    total, steps = terms[0], []
    for term in terms[1:]:
        slip = 0 if chance.random() < 0.7 + 0.3 * skill else chance.choice((-1, 1, 10))
        said = chance.choice(("Then ", "Next ", "再算")) if skill < 0.5 or chance.random() < 0.1 else "Then "
        steps.append(f"{said}{total}+{term}={total + term + slip}.")
        total += term + slip
    thought = " ".join(steps) + (f" Check: {total} it is." if skill > 0.5 else "")
    if chance.random() < 0.1 + 0.88 * skill:
        return f"<think>{thought}</think><answer>{total}</answer>"
    return f" {thought} The answer is {total}."


def _evaluate(folder: Path, rows: Sequence[Prompt], samples: int, skill: float, *, seed: str) -> None:
    chance = random.Random(seed)
    judged: dict[str, list[dict[str, Any]]] = {}
    for sampling in SAMPLINGS:
        found = judged.setdefault(sampling.name, [])
        for row in rows:
            for sample in range(samples):
                text = _completion(chance, row, skill)
                head = {
                    "id": row.id,
                    "family": row.family,
                    "sampling": sampling.name,
                    "sample": sample,
                    "completion": text,
                }
                said = Completion(text=text, finish=Finish.END)
                read = evaluate.judged(*Grader(contract=CONTRACT).grade([said], [row], None), CONTRACT)
                found.append(head | read | {"tokens": len(text) // 2, "truncated": False})
    with (folder / scores.COMPLETIONS_FILE).open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for found in judged.values() for row in found)
    summary = evaluate.summary(evaluate.Recipe(samples=samples, samplings=list(SAMPLINGS)), rows, judged, None)
    summary |= {"max_tokens": 256, "template": "r1_zero"}
    (folder / scores.SCORES_FILE).write_text(json.dumps(summary), encoding="utf-8")


def _train(log: Events, steps: int) -> None:
    chance = random.Random("training")
    for step in range(1, steps + 1):
        done = 1 - math.exp(-3.2 * step / steps)
        accuracy, shape = 0.3 + 0.63 * done + chance.gauss(0, 0.03), 0.14 + 0.84 * done + chance.gauss(0, 0.02)
        log.emit(
            "step",
            step=step,
            reward=accuracy + shape,
            reward_accuracy=accuracy,
            reward_format=shape,
            accuracy=accuracy,
            format=shape,
            length=24 + 26 * done + chance.gauss(0, 1.2),
            kl=0.08 * done + abs(chance.gauss(0, 0.006)),
            truncated=0.04 * (1 - done),
            entropy=0.8 - 0.5 * done + chance.gauss(0, 0.02),
            clip_fraction=abs(chance.gauss(0.02, 0.01)),
            mixed=0.1 + 0.1 * done,
            reference="init" if step <= steps // 3 else "step-20" if step <= 2 * steps // 3 else "step-40",
        )
        if step % 10 == 0 or step == 1:
            at = 0 if step == 1 else step
            log.emit(
                "eval",
                step=at,
                strict=0.1 + 0.83 * (done if at else 0),
                accuracy=0.34 + 0.6 * (done if at else 0),
                format=shape,
            )
