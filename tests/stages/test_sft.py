"""The sft stage: what it asks of its recipe and inputs, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trl
from transformers import AutoTokenizer

from stages import sft
from stages.core.artifact import Conversations, Model
from stages.core.contract import R1_ZERO_TEMPLATE, Contract
from stages.core.data import imitation
from stages.core.errors import ContractError, InputError, RecipeError
from stages.core.rows import Conversation
from stages.core.run import events
from stages.core.templates import Asked
from stages.policy.models import asking
from tests.policy import tiny, tiny_sft

RECIPES = Path(__file__).parents[2] / "recipes"
STOCK = Path(trl.__file__).parent / "chat_templates" / "deepseek_r1_distill.jinja"
"""The chat template that the DeepSeek-R1-Distill models were published with."""
KEEPING = (
    "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

# ---- the recipe ----


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "`epochs` must be 1 or more, not 0"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0"),
        ({"min_lr_share": 1.5}, "`min_lr_share` must be in [0, 1]"),
        ({"max_tokens": 0}, "`max_tokens` must be 1 or more, or null"),
        ({"warmup_steps": -1}, "`warmup_steps` must be 0 or more"),
        ({"max_grad_norm": -1.0}, "`max_grad_norm` must be 0 or more, or null"),
        ({"adam_betas": (0.9, 1.0)}, "`adam_betas` must be two numbers in [0, 1)"),
        ({"template": "r1_zeroo"}, "no `template` named r1_zeroo"),
    ],
)
def test_a_value_out_of_range_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        sft.Recipe(**changes)
    assert said in caught.value.what and caught.value.hint


def test_the_defaults_are_r1_s_published_numbers() -> None:
    recipe = sft.Recipe()
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (2, 64, 5e-6)
    assert (recipe.lr_schedule, recipe.min_lr_share, sft.LONGEST) == ("cosine", 0.1, 32768)


def test_every_field_says_what_it_means() -> None:
    from stages.core.recipe import schema

    assert all(key.doc for key in schema.describe(sft.Recipe))


def test_a_template_file_is_read_when_the_recipe_is_and_so_is_hashed(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("Think. {prompt}")
    assert sft.Recipe(template=str(file)).template == "Think. {prompt}"
    file.write_text("no place for it")
    with pytest.raises(RecipeError, match=r"lacks \{prompt\}"):
        sft.Recipe(template=str(file))


@pytest.mark.parametrize("name", ["cold_start", "sft", "paper/cold_start", "paper/sft"])
def test_the_bundled_recipes_load(name: str) -> None:
    from stages.core.recipe.loading import load

    loaded = load(name)
    assert loaded.stage == "sft" and isinstance(loaded.recipe, sft.Recipe)
    assert set(loaded.inputs) >= {"model"}


def test_the_paper_s_recipes_are_the_defaults_where_they_speak_of_the_same() -> None:
    from stages.core.recipe.loading import load

    for name in ("paper/cold_start", "paper/sft"):
        recipe, default = load(name).recipe, sft.Recipe()
        differing = {part for part in vars(default) if getattr(recipe, part) != getattr(default, part)}
        assert differing == {"template", "max_tokens", "dtype"} and recipe.max_tokens == sft.LONGEST


def test_every_number_of_the_paper_s_recipe_says_where_it_is_from() -> None:
    text = (RECIPES / "paper" / "cold_start.yaml").read_text(encoding="utf-8")
    values = [line for line in text[text.index("\nrecipe:") :].splitlines()[2:] if line.strip()]
    assert len(values) > 10
    unmarked = [line for line in values if "# published: " not in line and "# chosen: unpublished" not in line]
    assert not unmarked, "\n".join(unmarked)


# ---- what is learned ----


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sft-stage")
    tiny.model(folder / "model")
    return folder


Make = Callable[..., sft.Inputs]


@pytest.fixture
def inputs(home: Path, tmp_path: Path) -> Make:
    def make(rows: Sequence[Conversation] | None = None, model: Model | None = None) -> sft.Inputs:
        given = tiny_sft.conversations(tmp_path / "rows", tiny_sft.rows(8) if rows is None else rows)
        return sft.Inputs(model=model or tiny_sft.model(home), conversations=given)

    return make


def said(folder: Path, kind: str) -> list[str]:
    return [line["text"] for line in events.read(folder / "events.jsonl", kind)]


def test_the_loss_falls_and_the_sealed_model_loads_with_plain_transformers(tmp_path: Path, inputs: Make) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    draft = tiny_sft.run(tmp_path / "run", inputs(), {"epochs": 4})
    steps = events.curve(tmp_path / "run" / "events.jsonl", "step")
    assert draft.kind is Model and [line["step"] for line in steps] == list(range(1, 9))
    assert draft.metrics["loss"] < 0.8 * steps[0]["loss"]
    promised = {"loss", "tokens", "rows", "learning_rate", "grad_norm", "seconds_update"}
    assert promised <= set(steps[0]) and all(value is not None for line in steps for value in line.values())
    assert set(draft.metrics) == {"rows", "dropped_too_long", "trained_tokens", "loss", "steps", "flops"}
    progress = events.read(tmp_path / "run" / "events.jsonl", "progress")[-1]
    assert (progress["done"], progress["total"], set(progress["figures"])) == (8, 8, {"loss", "tokens"})
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    words = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert model.generate(**words("1+1=", return_tensors="pt"), max_new_tokens=2, do_sample=False).shape[1] > 4
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not [name for name in left if name.endswith((".bin", ".pt", ".pth", ".pkl"))]


def test_bfloat16_is_computed_with_and_sealed_while_weights_are_trained_in_float32(
    tmp_path: Path, inputs: Make
) -> None:
    from safetensors.torch import load_file

    exact = tiny_sft.run(tmp_path / "exact", inputs())
    draft = tiny_sft.run(tmp_path / "half", inputs(), {"dtype": "bfloat16"})
    kinds = {str(part.dtype) for part in load_file(tmp_path / "half" / "model.safetensors").values()}
    assert kinds == {"torch.bfloat16"}
    assert draft.metrics["loss"] == pytest.approx(exact.metrics["loss"], rel=0.02)


def test_rows_that_are_too_long_are_left_out_whole_and_counted(tmp_path: Path, inputs: Make) -> None:
    rows = [*tiny_sft.rows(4), Conversation("long", "1+1=", "so " * 40, "2")]
    draft = tiny_sft.run(tmp_path / "run", inputs(rows))
    alone = tiny_sft.run(tmp_path / "alone", inputs(rows[:4]))
    assert (draft.metrics["rows"], draft.metrics["dropped_too_long"]) == (4, 1)
    assert said(tmp_path / "run", "warning") == ["1 of 5 rows are longer than 128 tokens and left out"]
    assert draft.metrics == alone.metrics | {"dropped_too_long": 1}, "nothing of the long row was trained on"


def test_no_row_that_fits_is_an_error_before_anything_is_trained(tmp_path: Path, inputs: Make) -> None:
    with pytest.raises(InputError, match="all 8 rows are longer than 9 tokens"):
        tiny_sft.run(tmp_path / "run", inputs(), {"max_tokens": 9})
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_a_limit_beyond_the_model_s_positions_is_cut_and_said(tmp_path: Path, inputs: Make) -> None:
    tiny_sft.run(tmp_path / "run", inputs(), {"max_tokens": 4096, "epochs": 1})
    assert said(tmp_path / "run", "warning") == ["max_tokens 4096 is cut to 128: the model has no more positions"]


def test_a_pad_token_that_ends_is_refused(tmp_path: Path, inputs: Make) -> None:
    with pytest.raises(ContractError, match="pad token"):
        tiny_sft.run(tmp_path / "run", inputs(model=tiny.model(tmp_path / "model", pad_is_eos=True)))


# ---- templates ----


def test_the_template_goes_on_with_the_model_and_its_opening_is_the_prompt_s(tmp_path: Path, inputs: Make) -> None:
    template = "Use <answer> </answer>. {prompt} <think>\n"
    tiny_sft.run(tmp_path / "run", inputs(), {"template": template, "epochs": 1})
    contract = Contract.read(tmp_path / "run")
    assert contract.prefill == "<think>\n" and contract.template_name == "custom"
    again = asking.contract_for(Asked(), Model(path=tmp_path / "run", record=tiny.record("model", "again")))
    assert again == contract, "an empty template is the model's own"


def test_a_model_without_a_template_gets_the_published_one(home: Path) -> None:
    contract = asking.contract_for(Asked(), tiny_sft.model(home))
    assert contract.render("1+1?") == R1_ZERO_TEMPLATE.replace("{prompt}", "1+1?")


@pytest.fixture
def chatting(home: Path, tmp_path: Path) -> Callable[[str], Model]:
    """The tiny model with a chat template."""

    def make(template: str) -> Model:
        model = tiny.model(tmp_path / "chatting")
        file = model.path / "tokenizer_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": template}))
        return model

    return make


def test_a_chat_template_that_strips_thoughts_from_finished_turns_trains_them_and_the_sealed_one_keeps_them(
    tmp_path: Path, inputs: Make, chatting: Callable[[str], Model]
) -> None:
    stock = STOCK.read_text(encoding="utf-8")
    given = inputs(model=chatting(stock))
    tiny_sft.run(tmp_path / "run", given, {"template": "chat", "epochs": 1})
    notes = [one["text"] for one in events.read(tmp_path / "run" / "events.jsonl", "note")]
    assert any("a response trains whole" in one for one in notes)
    row, agreed = given.conversations.rows()[0], Contract.read(tmp_path / "run")
    trained = next(imitation.examples([row], agreed, imitation.read_tokenizer(tmp_path / "run")))
    sealed = AutoTokenizer.from_pretrained(tmp_path / "run")
    asked = [*row.turns, {"role": "user", "content": row.problem}]
    said = {"role": "assistant", "content": agreed.prefill + agreed.respond(row.reasoning, row.summary)}
    whole = sealed.apply_chat_template([*asked, said])["input_ids"]
    assert whole == [*trained.prompt_ids, *trained.completion_ids]
    assert row.reasoning in sealed.decode(whole)
    stripped = sealed.apply_chat_template([*asked, said], chat_template=stock, tokenize=False)
    assert row.reasoning not in stripped, "the stock template would have lost it"


def test_a_chat_template_that_keeps_reasoning_is_used_as_it_is(
    tmp_path: Path, inputs: Make, chatting: Callable[[str], Model]
) -> None:
    tiny_sft.run(tmp_path / "run", inputs(model=chatting(KEEPING)), {"template": "chat", "epochs": 1})
    contract = Contract.read(tmp_path / "run")
    assert (contract.render("{prompt}"), contract.template_name) == ("<user>{prompt}<eos><assistant>", "chat")


def test_a_chat_template_that_is_missing_or_loses_the_prompt_is_refused(
    tmp_path: Path, inputs: Make, chatting: Callable[[str], Model]
) -> None:
    with pytest.raises(ContractError, match="has no chat template"):
        tiny_sft.run(tmp_path / "a", inputs(), {"template": "chat"})
    with pytest.raises(ContractError, match="writes a user's prompt 0 times"):
        tiny_sft.run(tmp_path / "b", inputs(model=chatting("Hello.")), {"template": "chat"})


# ---- the stage among the others ----


def test_a_file_of_conversations_is_imported_and_the_same_run_is_found_again(
    home: Path, inputs: Make, tmp_path: Path
) -> None:
    from stages.core.recipe.loading import Loaded
    from stages.core.run.runner import run_node
    from stages.core.run.runtime import Runtime
    from stages.core.storage.store import Store

    inputs()
    given = {"model": str(home / "model"), "conversations": str(tmp_path / "rows" / "conversations.jsonl")}
    recipe = sft.Recipe(**{**tiny_sft.SETTINGS, "epochs": 1})
    node = Loaded("sft", "cold", recipe, given, Runtime(device="cpu"))
    first = run_node(node, Store())
    assert first.address == "cold@1" and first.record.inputs["conversations"] == "conversations@1"
    assert isinstance(Store().open("conversations@1"), Conversations)
    assert run_node(node, Store()).address == "cold@1"
