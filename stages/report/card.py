"""A model's card, written from its lineage: what others read before they trust it.

The released artifact, everything it descends from and the evaluations of it enter; the text of a README.md leaves, with
the header that the hub reads. Nothing in it is remembered or guessed: each figure stands in a sealed record, and what
no record holds (a licence, a benchmark that was not run) is said to be missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.artifact import Artifact, Judge, Scores

SHOWN = {
    "rl": ("algorithm", "steps", "learning_rate", "rewards", "group_size", "max_completion_tokens", "template"),
    "sft": ("epochs", "learning_rate", "template"),
    "distill": ("mode", "epochs", "learning_rate"),
    "reward-model": ("epochs", "learning_rate"),
    "curate": ("keep_per_prompt", "total"),
    "sample": ("samples", "temperature"),
    "import": ("source",),
    "prepare": ("source", "kind"),
}
"""Stage -> the keys of its recipe that a reader asks for first; `recipe.yaml` in the store holds them all."""
FIGURES = ("pass@1", "strict_pass@1", "cons@", "truncated", "format", "language")
"""Figures of an evaluation that the card shows, by how they begin."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card is written from."""

    release: Artifact
    family: Sequence[Artifact]
    """Everything the model descends from, itself last, oldest first."""
    scores: Sequence[Scores]
    """Evaluations of this very model."""
    title: str
    place: str
    """How a reader names it: a folder, a file, a repository."""
    licence: str = ""
    """As the hub spells it (apache-2.0, mit); empty where nobody said."""


def written(card: Card) -> str:
    """The README.md of a release."""
    parts = [
        _header(card),
        f"# {card.title}\n\n{_opening(card)}",
        f"## Use\n\n{_use(card)}",
        f"## How it was made\n\n{_stages(card)}",
        f"## Data\n\n{_data(card)}",
        f"## Scores\n\n{_scores(card)}",
        f"## Limits\n\n{_limits(card)}",
        f"## Licence\n\n{_licence(card)}",
    ]
    return "\n\n".join(parts) + "\n"


def _header(card: Card) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=scores.record.inputs["prompts"],
            dataset_name=scores.record.inputs["prompts"],
            metric_type=name,
            metric_value=figure["value"],
            metric_name=f"{name} ({sampling})",
        )
        for scores, sampling, name, figure in _figures(card)
    ]
    gguf = card.release.metrics["format"] == "gguf"
    data = ModelCardData(
        license=card.licence or None,
        library_name="gguf" if gguf else "transformers",
        pipeline_tag="text-generation",
        tags=["r1", "reasoning"],
        model_name=card.title,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _opening(card: Card) -> str:
    model = card.family[-1]
    made = [one.record.stage for one in card.family if one.kind in ("model", "adapter")]
    return (
        f"`{model.address}`, made by r1 in these stages ({', '.join(made)}), released as "
        f"`{card.release.address}`. Every figure below stands in a sealed record of that store; its fingerprint is "
        f"`{model.fingerprint[:16]}`."
    )


def _use(card: Card) -> str:
    metrics = card.release.metrics
    if metrics["format"] == "gguf":
        lost = (
            f"Against the weights it was made from, over one text: largest difference of a logit "
            f"{metrics['logit_difference']:.3g}, mean {metrics['logit_difference_mean']:.3g}; the likeliest token is "
            f"the same at {metrics['top1_same']:.1%} of the positions; {metrics['kl']:.2g} nats a token."
        )
        return f"```bash\nllama-cli -m {card.place} --jinja\n```\n\n{lost}"
    return (
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{card.place}")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{card.place}", dtype="auto")\n'
        'asked = [{"role": "user", "content": "What is 7 + 5?"}]\n'
        'ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)'
        "\n"
        "print(tokenizer.decode(model.generate(**ids, max_new_tokens=512, do_sample=True)[0]))\n```\n\n"
        f"Or `vllm serve {card.place}`. Template, end tokens and padding are those it was trained with. Sample at the "
        "temperature of the scores below; greedy answers of reasoning models repeat themselves."
    )


def _stages(card: Card) -> str:
    rows = [["artifact", "stage", "from", "settings"]]
    for one in card.family:
        if one.kind not in ("model", "adapter", "judge", "release"):
            continue
        given = ", ".join(f"{key}: {address}" for key, address in one.record.inputs.items())
        rows.append([f"`{one.address}`", one.record.stage, given or "outside", _settings(one)])
    return _table(rows)


def _settings(artifact: Artifact) -> str:
    recipe = artifact.record.payload.get("recipe") or {}
    asked = [key for key in SHOWN.get(artifact.record.stage, ()) if recipe.get(key) not in (None, "", [], {})]
    return "; ".join(f"{key} {_words(recipe[key])}" for key in asked) or "as the stage's defaults"


def _words(value: Any) -> str:
    if isinstance(value, Mapping) and len(value) == 1 and isinstance(inner := next(iter(value.values())), Mapping):
        return _words(inner)
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_words(each)}" for key, each in value.items())
    return (
        ", ".join(map(_words, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _data(card: Card) -> str:
    kinds = ("prompts", "conversations", "preferences", "rollouts", "logprobs")
    rows = [["artifact", "kind", "stage", "rows", "source and settings"]]
    for one in card.family:
        if one.kind in kinds:
            count = next((one.metrics[key] for key in ("rows", "kept", "completions") if key in one.metrics), "")
            rows.append([f"`{one.address}`", one.kind, one.record.stage, str(count), _settings(one)])
    return _table(rows) if len(rows) > 1 else "No data is on its line in this store."


def _figures(card: Card) -> Iterator[tuple[Scores, str, str, Mapping[str, Any]]]:
    for scores in card.scores:
        table = json.loads((scores.path / "scores.json").read_text(encoding="utf-8"))
        for sampling in table["samplings"]:
            for name, figure in sampling["overall"].items():
                if name.startswith(FIGURES) and figure.get("value") is not None:
                    yield scores, sampling["name"], name, figure


def _scores(card: Card) -> str:
    rows = [["evaluation", "prompts", "sampling", "figure", "value", "95 % interval", "problems"]]
    for scores, sampling, name, figure in _figures(card):
        low, high = figure.get("low"), figure.get("high")
        between = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else "none"
        asked = scores.record.inputs["prompts"]
        rows.append([f"`{scores.address}`", asked, sampling, name, f"{figure['value']:.3f}", between, str(figure["n"])])
    return _table(rows) if len(rows) > 1 else "Nobody has evaluated this model: `r1 eval inputs.model=…`."


def _limits(card: Card) -> str:
    judges = [f"`{one.address}`" for one in card.family if isinstance(one, Judge)]
    said = [
        f"Rewarded by learned judges ({', '.join(judges)}), whose mistakes it may have learned."
        if judges
        else "No learned judge took part: nothing was trained towards helpfulness or harmlessness.",
        "It was measured on what the table above names and on nothing else.",
    ]
    return "\n".join(f"- {one}" for one in said)


def _licence(card: Card) -> str:
    bases = [f"`{one.address}`" for one in card.family if one.record.stage == "import" and one.kind == "model"]
    own = f"Released under `{card.licence}`." if card.licence else "Not stated by who released it."
    return (
        f"{own} It descends from {', '.join(bases) or 'no imported model'}, and from the data above: the licences of "
        "these bind whoever uses it, and no record here holds their texts."
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
