"""How well the KL of two models is estimated, as tables: an artifact enters, rows on the screen leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r1cli.view import Screen
    from stages.core.artifact import Artifact


def show(artifact: Artifact, screen: Screen) -> bool:
    """Draw the estimators, the control variate and the gradients of an artifact; False if it has none."""
    from stages.core.stats.divergence import read

    found = read(artifact.path)
    if found is None:
        return False
    exact = {name: found["kl"][name]["value"] for name in ("token", "completion")}
    screen.say(_counts(found))
    screen.say(f"exact KL: {exact['token']:.4g} nats a token, {exact['completion']:.4g} a completion")
    _estimators(found, screen)
    _control(found, screen)
    lines = [
        [name.replace("_", " "), *(_plain(one[key]) for key in GRADIENT)] for name, one in found["gradient"].items()
    ]
    columns = ["gradient", *(f">{title}" for title in GRADIENT.values())]
    screen.table(columns, lines, title="Against the gradient of the exact KL")
    return True


GRADIENT = {"error": "error", "cosine": "cosine", "noise": "noise of a draw"}


def _plain(value: float) -> float:
    """What rounding left of a 0 is 0."""
    return 0.0 if abs(value) < 1e-12 else value


def _counts(found: Mapping[str, Any]) -> str:
    return f"{found['problems']} problems, {found['completions']} completions, {found['tokens']:,} tokens"


def _estimators(found: Mapping[str, Any], screen: Screen) -> None:
    lines = []
    for name, one in found["token"].items():
        drawn, whole = one["sampled_bias"], found["completion"][name]
        spread = f"[{drawn['low']:.2g},{drawn['high']:.2g}]"
        exact = (_plain(one["bias"]), one["std"])
        sampled = (f"{drawn['value']:.2g} {spread}", one["sampled_std"], f"{100 * one['negative']['value']:.0f}")
        lines.append([name, *exact, *sampled, whole["bias"]["value"], whole["std"]])
    columns = ["", ">bias", ">std", ">drawn: bias", ">std", ">neg %", ">whole: bias", ">std"]
    screen.table(columns, lines, title="For a token by the whole vocabulary, as drawn, and for a whole completion")


def _control(found: Mapping[str, Any], screen: Screen) -> None:
    """The variance of k1 + λ (r - 1) at some weights, and at the best."""
    lines = []
    for name, title in (("exact", "exact"), ("sampled", "as drawn")):
        curve, part = found["control"][name]["variance"], found["control"][name]
        some = [curve.get(weight) for weight in ("0", "0.5", "1", "2")]
        lines.append([title, *some, f"{part['best']:g}", part["best_variance"], part["optimum"]])
    columns = ["variance", ">λ = 0 (k1)", ">0.5", ">1 (k3)", ">2", ">best λ", ">there", ">by formula"]
    screen.table(columns, lines, title="k1 + λ (r - 1), for a token")
