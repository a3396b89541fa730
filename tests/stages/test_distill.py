"""The distill and logprobs stages: what they ask of their recipes and inputs, and what they leave behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages import distill, logprobs
from stages.core.artifact import Artifact, Conversations, Draft, Logprobs, Model, Prompts
from stages.core.contract import Contract
from stages.core.errors import InputError, RecipeError
from stages.core.run import events
from stages.core.run.events import Events
from stages.core.storage import lineage
from tests.policy import pairs, tiny
from tests.policy.training.test_resume import dies_after

KINDS: dict[str, type[Artifact]] = {
    "teacher": Model,
    "student": Model,
    "other": Model,
    "traces": Conversations,
    "prompts": Prompts,
    "cache": Logprobs,
}
QUICK: dict[str, Any] = {"learning_rate": 5e-3, "epochs": 4, "batch_size": 8, "heldout_share": 0.2}


def artifact(home: Path, name: str) -> Any:
    kind = KINDS[name]
    return kind(path=home / name, record=tiny.record(kind.kind, name))


def run(folder: Path, stage: Any, recipe: dict[str, Any], inputs: dict[str, Any], **runtime: Any) -> Draft:
    """Run a stage in `folder`; inputs by key, as names in `folder.parent` or as artifacts."""
    work = tiny.work(folder, **runtime)
    home = folder.parent
    found = {key: artifact(home, value) if isinstance(value, str) else value for key, value in inputs.items()}
    try:
        draft: Draft = stage.run(stage.Recipe(**recipe), stage.Inputs(**found), work)
        return draft
    finally:
        work.events.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher and a student of one tokenizer and unequal embeddings (270 and 265 rows for 262 tokens), a student of
    another tokenizer, traces, prompts, and the teacher's cache."""
    folder = tmp_path_factory.mktemp("distill")
    pairs.model(folder / "teacher", 1, hidden=48, pad_rows=8)
    pairs.model(folder / "student", 2, pad_rows=3)
    pairs.model(folder / "other", 4, more=("<other>",))
    pairs.traces(folder / "traces", 16, length=3)
    pairs.prompts(folder / "prompts", 6)
    inputs = {"teacher": "teacher", "conversations": "traces"}
    draft = run(folder / "cache", logprobs, {"top_k": 8, "whole_tokens": 10}, inputs)
    (folder / "cache.metrics.json").write_text(json.dumps(draft.metrics))
    return folder


def said(folder: Path, kind: str = "note") -> str:
    return "\n".join(line["text"] for line in events.read(folder / "events.jsonl", kind))


# ---- the recipe ----


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"epochs": 0}, "`epochs` must be 1 or more, not 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0, or null"),
        ({"heldout_share": 1.0}, "`heldout_share` must be in [0, 1)"),
        ({"divergence": 1.5}, "`divergence` must be in [0, 1]"),
        ({"max_tokens": 0}, "`max_tokens` must be 1 or more, or null"),
        ({"template": "r1_zeroo"}, "no `template` named r1_zeroo"),
    ],
)
def test_a_value_out_of_range_is_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        distill.Recipe(**changes)
    assert text in caught.value.what and caught.value.hint


def test_the_defaults_are_the_published_numbers() -> None:
    recipe = distill.Recipe()
    assert (recipe.mode, recipe.epochs, recipe.batch_size, recipe.max_tokens) == ("traces", 2, 64, 32768)
    assert (recipe.lr_schedule, recipe.min_lr_share, recipe.learning_rate) == ("cosine", 0.1, None)


@pytest.mark.parametrize("name", ["distill", "distill_logprobs", "distill_on_policy", "logprobs", "paper/distill"])
def test_the_bundled_recipes_load(name: str) -> None:
    from stages.core.recipe.loading import load

    assert load(name).stage == ("logprobs" if name == "logprobs" else "distill")


def test_every_number_of_the_paper_recipe_says_where_it_is_from() -> None:
    text = (Path(__file__).parents[2] / "recipes" / "paper" / "distill.yaml").read_text(encoding="utf-8")
    values = [line for line in text[text.index("\nrecipe:") :].splitlines()[2:] if line.strip()]
    unmarked = [line for line in values if "# published: " not in line and "# chosen: unpublished" not in line]
    assert len(values) > 12 and not unmarked, "\n".join(unmarked)


# ---- what is refused before anything is trained ----


@pytest.mark.parametrize(
    ("mode", "missing"), [("traces", "conversations"), ("logprobs", "logprobs"), ("on-policy", "teacher")]
)
def test_a_mode_names_the_input_it_lacks(home: Path, mode: str, missing: str) -> None:
    with pytest.raises(RecipeError, match=f"mode {mode} needs the input `{missing}`"):
        run(home / f"lacks-{mode}", distill, {"mode": mode, **QUICK}, {"student": "student"})


def test_a_student_outside_the_table_needs_a_learning_rate(home: Path) -> None:
    with pytest.raises(RecipeError, match="no `learning_rate` is published for `student@1`") as caught:
        run(home / "no-rate", distill, {}, {"student": "student", "conversations": "traces"})
    assert "qwen-7b 8e-05" in caught.value.hint


def test_traces_beyond_the_student_s_positions_are_refused_or_dropped(home: Path, tmp_path: Path) -> None:
    long = pairs.traces(tmp_path / "long", 12, length=16)
    inputs = {"student": "student", "conversations": long}
    with pytest.raises(InputError, match=r"longer than the 128 tokens that the student takes; .* has") as told:
        run(home / "long", distill, QUICK, inputs)
    assert "`too_long=drop`" in told.value.hint and "`positions=" in told.value.hint
    assert not list((home / "long").glob("*.safetensors"))
    draft = run(home / "dropped", distill, {**QUICK, "too_long": "drop"}, inputs)
    assert draft.metrics["dropped_too_long"] + draft.metrics["rows"] == 12
    assert draft.metrics["dropped_too_long"] > 0
    longer = run(home / "longer", distill, {**QUICK, "positions": 256}, inputs)
    assert longer.metrics["rows"] == 12
    assert Contract.read(home / "longer").max_positions == 256
    assert json.loads((home / "longer" / "config.json").read_text())["max_position_embeddings"] == 256


@pytest.mark.parametrize("mode", ["logprobs", "on-policy"])
def test_another_tokenizer_is_refused_and_the_mode_that_works_is_named(home: Path, mode: str) -> None:
    given = {"logprobs": "cache"} if mode == "logprobs" else {"teacher": "teacher", "prompts": "prompts"}
    with pytest.raises(InputError, match=f"mode {mode} needs one tokenizer") as caught:
        run(home / f"refused-{mode}", distill, {"mode": mode, **QUICK}, {"student": "other", **given})
    assert "`mode=traces` works with any tokenizer" in caught.value.hint


def test_log_probabilities_of_another_teacher_are_refused(home: Path) -> None:
    record = tiny.record("logprobs", "cache")
    theirs = Logprobs(path=home / "cache", record=type(record)(**{**vars(record), "inputs": {"teacher": "r1@7"}}))
    with pytest.raises(InputError, match="holds the log-probabilities of `r1@7`, not of `teacher@1`"):
        inputs = {"student": "student", "teacher": "teacher", "logprobs": theirs}
        run(home / "whose", distill, {"mode": "logprobs", **QUICK}, inputs)


def test_a_chat_template_that_strips_thoughts_trains_them_and_says_so(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stripping"
    shutil.copytree(home / "student", folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = (
        "{% for m in messages %}{% if m.role == 'assistant' %}A: {{ m.content.split('</think>')[-1] }}"
        "{% else %}Q: {{ m.content }}. {% endif %}{% endfor %}{% if add_generation_prompt %}A: {% endif %}"
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    student = Model(path=folder, record=tiny.record("model", "stripping"))
    run(home / "strips", distill, {**QUICK, "template": "chat"}, {"student": student, "conversations": "traces"})
    assert "a response trains whole" in said(home / "strips")
    assert Contract.read(home / "strips").template_name == "chat"


# ---- what is left behind ----


def test_the_cache_says_what_the_tail_hides(home: Path) -> None:
    metrics = json.loads((home / "cache.metrics.json").read_text())
    assert metrics["rows"] == 16 and metrics["top_k"] == 8 and metrics["vocabulary"] == 262
    assert 0 < metrics["tail_mass"] < 1 and metrics["flops"]["teacher"] > 0
    bucket = metrics["bucket"]
    assert bucket["against"] == "teacher@1 at temperature 2" and bucket["positions"] == 10
    assert 0 < bucket["bucketed_kl"] < bucket["full_kl"]
    assert "the rest as one bucket hides" in said(home / "cache")
    assert not list((home / "cache").glob("*.part"))


def test_a_student_given_to_logprobs_is_what_the_tail_is_measured_on(home: Path) -> None:
    inputs = {"teacher": "teacher", "conversations": "traces", "student": "student"}
    draft = run(home / "measured", logprobs, {"top_k": 8, "whole_tokens": 10}, inputs)
    assert draft.metrics["bucket"]["against"] == "student@1"
    with pytest.raises(InputError, match="measuring on a student needs one tokenizer"):
        run(home / "unmeasured", logprobs, {}, {**inputs, "student": "other"})


def test_log_probabilities_pull_held_out_kl_down_across_unequal_embeddings(home: Path) -> None:
    from transformers import AutoModelForCausalLM

    recipe = {"mode": "logprobs", **QUICK, "eval_every": 2}
    draft = run(home / "kl", distill, recipe, {"student": "student", "teacher": "teacher", "logprobs": "cache"})
    found = draft.metrics
    assert found["heldout_kl_after"] < 0.8 * found["heldout_kl_before"]
    assert (found["rows"], found["heldout_rows"], found["steps"]) == (13, 3, 7)
    curve = events.curve(home / "kl" / "events.jsonl", "eval")
    assert [point["step"] for point in curve] == [0, 2, 4, 6, 7]
    assert curve[-1]["kl"] == found["heldout_kl_after"] and curve[-1]["tail_error"] > 0
    assert "one bucket for the tail hides" in said(home / "kl")
    assert found["flops"]["update"] > 0 and found["teacher"] == "teacher@1"
    model = AutoModelForCausalLM.from_pretrained(home / "kl")
    assert model.config.vocab_size == 265, "the student keeps its own embedding"
    assert Contract.read(home / "kl").template == pairs.TEMPLATE


def test_traces_teach_a_student_of_any_tokenizer_and_carry_the_teacher_s_template(home: Path) -> None:
    inputs = {"student": "other", "teacher": "teacher", "conversations": "traces"}
    draft = run(home / "any", distill, QUICK, inputs)
    assert draft.metrics["rows"] == 16 and "heldout_kl_before" not in draft.metrics
    assert Contract.read(home / "any").template == pairs.TEMPLATE
    steps = events.curve(home / "any" / "events.jsonl", "step")
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_traces_are_measured_on_what_was_held_out_of_them(home: Path) -> None:
    inputs = {"student": "student", "conversations": "traces", "logprobs": "cache"}
    draft = run(home / "beside", distill, QUICK, inputs)
    lp = run(home / "beside-lp", distill, {"mode": "logprobs", **QUICK}, {"student": "student", "logprobs": "cache"})
    same = ("rows", "heldout_rows", "steps", "trained_tokens", "heldout_kl_before")
    assert {name: draft.metrics[name] for name in same} == {name: lp.metrics[name] for name in same}
    with pytest.raises(InputError, match="needs one tokenizer") as caught:
        run(home / "beside-other", distill, QUICK, {**inputs, "student": "other"})
    assert "leave inputs.logprobs out" in caught.value.hint


def test_on_policy_lets_the_student_speak_and_keeps_its_embedding(home: Path) -> None:
    from stages.policy.models.folders import load_model

    recipe = {"mode": "on-policy", "learning_rate": 5e-3, "steps": 3, "batch_size": 4, "max_completion_tokens": 8}
    inputs = {"student": "student", "teacher": "teacher", "prompts": "prompts"}
    draft = run(home / "spoken", distill, recipe, inputs, micro_batch=2)
    assert draft.metrics["steps"] == 3 and 0 < draft.metrics["trained_tokens"] <= 3 * 4 * 8
    assert set(draft.metrics["flops"]) == {"sampling", "update", "teacher"}
    before, after = load_model(home / "student").state_dict(), load_model(home / "spoken").state_dict()
    rows = "model.embed_tokens.weight"
    assert after[rows].shape == (265, 32) and after[rows][262:].equal(before[rows][262:])
    assert not after[rows][:262].equal(before[rows][:262])
    with pytest.raises(InputError, match="answers may have 120 tokens"):
        run(home / "no-room", distill, {**recipe, "max_completion_tokens": 120}, inputs)


def test_a_zero_teacher_is_labelled(home: Path, r1_home: Path) -> None:
    from stages.core.storage.store import Store
    from tests.core.storage.test_lineage import sealed

    store = Store(r1_home)
    sealed(store, "base", "import", {})
    zero = sealed(store, "zero", "rl", {"model": "base@1"})
    shutil.copytree(home / "teacher", zero.path, dirs_exist_ok=True)
    draft = run(home / "of-zero", distill, QUICK, {"student": "student", "teacher": zero, "conversations": "traces"})
    assert draft.metrics["teacher_variant"] == lineage.ZERO and draft.metrics["teacher"] == "zero@1"
    assert f"zero@1: {lineage.ZERO}" in said(home / "of-zero")


# ---- killed and run again ----

RUNS: dict[str, tuple[Any, dict[str, Any], dict[str, str]]] = {
    "logprobs": (
        distill,
        {"mode": "logprobs", **QUICK, "eval_every": 3},
        {"student": "student", "teacher": "teacher", "logprobs": "cache"},
    ),
    "traces": (distill, QUICK, {"student": "student", "conversations": "traces", "logprobs": "cache"}),
    "on-policy": (
        distill,
        {"mode": "on-policy", "learning_rate": 5e-3, "steps": 6, "batch_size": 4, "max_completion_tokens": 6},
        {"student": "student", "teacher": "teacher", "prompts": "prompts"},
    ),
    "cache": (logprobs, {"top_k": 4}, {"teacher": "teacher", "conversations": "traces"}),
}


def attempt(folder: Path, which: str, place: str) -> None:
    """Run to the end, or to the place of death."""
    from stages.policy.distill import cache

    stage, recipe, inputs = RUNS[which]
    cache.SHARD_TOKENS = 200
    if place:
        kind, _, number = place.partition(" ")
        if kind == "shard":
            dies_after(cache.Writer, "write", lambda self, shard, *_: shard == int(number))
        else:
            dies_after(Events, "emit", lambda _, event, **fields: f"{event} {fields.get('step')}" == place)
    draft = run(folder, stage, recipe, inputs, micro_batch=4, checkpoint_every=2)
    (folder / "metrics.json").write_text(json.dumps(draft.metrics))


def outcome(folder: Path) -> dict[str, Any]:
    return {
        "files": {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))},
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "curve": [
            {name: value for name, value in line.items() if name != "time"}
            for line in events.curve(folder / "events.jsonl", "eval")
        ],
    }


@pytest.mark.parametrize(
    ("which", "place"), [("logprobs", "step 5"), ("traces", "step 3"), ("on-policy", "step 4"), ("cache", "shard 1")]
)
def test_a_killed_run_ends_as_if_it_had_not_been(home: Path, which: str, place: str) -> None:
    assert tiny.in_a_process(attempt, home / f"{which}-whole", which, "") == 0
    assert tiny.in_a_process(attempt, home / f"{which}-killed", which, place) == -9, f"{place} was never reached"
    assert tiny.in_a_process(attempt, home / f"{which}-killed", which, "") == 0
    assert outcome(home / f"{which}-killed") == outcome(home / f"{which}-whole")
