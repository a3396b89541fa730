"""What the nodes of a plan ask of a device, shown: `r1 plan` and every dry run end with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from r1cli.view import Screen, amount, short_span, span

if TYPE_CHECKING:
    from stages.core.scale.outlook import Outlook

_PARTS = {
    "weights": "weights",
    "gradients": "grads",
    "optimizer": "optim",
    "reference": "ref",
    "activations": "activ",
    "logits": "logits",
    "kv_cache": "kv",
    "other": "etc",
    "peak": "peak",
}
"""A part of the memory -> the head of its column."""


def show(found: Sequence[Outlook], screen: Screen) -> dict[str, Any]:
    """Show what the nodes that are built take; returns it as values, one row a node."""
    built = [one for one in found if one.source]
    rows = [_row(one) for one in built]
    if not built:
        return {"outlook": rows}
    priced = any(one.cost is not None for one in built)
    screen.say("")
    lines = []
    for one in built:
        cut = f"{one.micro}{'²' if one.twice else ''}" if one.micro else ""
        steps, tokens = one.load.steps or "", amount(one.load.tokens) if one.load.tokens else ""
        money = [f"{one.cost:,.2f}" if one.cost is not None else ""] if priced else []
        lines.append(
            [one.node, steps, cut, tokens, short_span(one.seconds), amount(one.disk) if one.disk else "", *money]
        )
    device = built[0].device
    title = f"on {device.text}, {amount(device.memory)}B {'each' if device.count > 1 else 'of memory'}"
    screen.table(
        ["node", ">steps", ">rows", ">tokens", ">time", ">disk", *([">dollars"] if priced else [])], lines, title=title
    )
    modelled = [one for one in built if one.parts]
    names = [name for name in _PARTS if any(getattr(one.parts, name) for one in modelled)]
    if modelled:
        cells = [
            [one.node, *(amount(value) if (value := getattr(one.parts, name)) else "" for name in names)]
            for one in modelled
        ]
        screen.table(["node", *(f">{_PARTS[name]}" for name in names)], cells, title="memory of one device, in bytes")
    _remarks(built, screen)
    return {"outlook": rows}


def _remarks(built: Sequence[Outlook], screen: Screen) -> None:
    """What was assumed, the totals, and what does not fit."""
    seconds, costs = sum(one.seconds for one in built), [one.cost for one in built if one.cost is not None]
    money = f", ${sum(costs):,.2f}" if costs else ""
    computed = sum(one.source == "computed" for one in built)
    screen.say(f"in all about {span(seconds)}{money}; {computed} of {len(built)} times computed, not measured")
    if any(one.twice for one in built):
        screen.say("²: each layer is computed twice, for not one row would fit otherwise")
    for sentence in dict.fromkeys(sentence for one in built for sentence in one.assumed):
        screen.say(f"assumed: {sentence}")
    for one in built:
        if not one.fits and one.parts:
            room = amount(one.device.memory)
            way = f": {'; or '.join(one.ways)}" if one.ways else ", and no key makes it fit"
            screen.say(f"does not fit: `{one.node}` needs {amount(one.parts.peak)} of {room} bytes{way}")


def _row(one: Outlook) -> dict[str, Any]:
    return {
        "node": one.node,
        "device": one.device.name,
        "devices": one.device.count,
        "device_bytes": one.device.memory,
        "steps": one.load.steps,
        "micro_batch": one.micro,
        "computed_twice": one.twice,
        "tokens": one.load.tokens,
        "bytes": asdict(one.parts) if one.parts else None,
        "fits": one.fits,
        "ways": list(one.ways),
        "seconds": round(one.seconds, 1),
        "seconds_from": one.source,
        "disk_bytes": one.disk,
        "dollars": one.cost,
        "assumed": list(one.assumed),
    }
