"""`r1 data`: a look at what training takes, before it takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1cli.options import Debug, Json, Overrides, bundled_recipes
from r1cli.view import Screen

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from stages.core.data.imitation import Example

app = typer.Typer(
    help="Data: show-mask.",
    epilog="Example: r1 data show-mask --recipe cold_start --rows 2",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    pass


@app.command("show-mask", epilog="Example: r1 data show-mask --recipe cold_start inputs.conversations=mine.jsonl")
def show_mask(
    overrides: Overrides = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="A recipe of r1 sft: a path, or a name.", autocompletion=bundled_recipes),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows, from the first.")] = 3,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show which tokens of conversations `r1 sft` would train on, with the very code that it trains with."""
    from stages import sft
    from stages.core.data import imitation
    from stages.core.recipe.loading import load
    from stages.core.run.runner import given, resolve
    from stages.core.storage.store import Store
    from stages.policy.models import asking

    node, store, screen = load(recipe, "sft", overrides or []), Store(), Screen(as_json)
    taken: dict[str, Any] = {**given(resolve(node, store, {}, fetch=True))}
    inputs = sft.Inputs(**taken)
    contract = asking.contract_for(node.recipe, inputs.model, screen.say)
    all_rows = inputs.conversations.rows()
    shown = all_rows[:rows]
    asking.tell_of_stripping(contract, screen.say)
    tokenizer = imitation.read_tokenizer(inputs.model.path)
    limit = sft.longest(node.recipe, contract)
    left: list[imitation.LeftOut] = []
    found = [_row(made, tokenizer, limit) for made in imitation.examples(shown, contract, tokenizer, left)]
    ends = [str(tokenizer.id_to_token(token)) for token in contract.eos_ids]
    end = tokenizer.id_to_token(contract.end_id)
    screen.say(
        f"{len(found)} of {len(all_rows)} rows · template {contract.template_name} · at most {limit} tokens a row"
    )
    prefill = f"begins {contract.prefill!r}, which the prompt holds" if contract.prefill else "begins in the response"
    screen.say(f"ends: {' '.join(ends)} · trained: {end} · padding: {tokenizer.id_to_token(contract.pad_id)}")
    screen.say(f"the thought {prefill}")
    if left:
        screen.say(imitation.told(left, len(shown)))
    for one in found:
        long = f"; longer than {limit}: left out" if one["left_out"] else ""
        screen.say(f"\n{one['id']}: {one['context_tokens']} tokens read, {one['trained_tokens']} trained{long}")
        screen.masked([(one["context"], False), (one["trained"], True)])
    facts = {"ends": ends, "end": end, "prefill": contract.prefill, "dropped": [one._asdict() for one in left]}
    known = {"rows": len(all_rows), "template": contract.template_name, "max_tokens": limit}
    screen.data({**known, **facts, "shown": found})


def _row(made: Example, tokenizer: Tokenizer, limit: int) -> dict[str, Any]:
    parts = ((made.prompt_ids, False), (made.completion_ids, True))
    context, trained = (tokenizer.decode(list(ids), skip_special_tokens=False) for ids, _ in parts)
    return {
        "id": made.id,
        "context_tokens": len(made.prompt_ids),
        "trained_tokens": len(made.completion_ids),
        "left_out": made.tokens > limit,
        "context": context,
        "trained": trained,
        "tokens": [
            {"id": one, "text": tokenizer.decode([one], skip_special_tokens=False), "trained": mask}
            for ids, mask in parts
            for one in ids
        ],
    }
