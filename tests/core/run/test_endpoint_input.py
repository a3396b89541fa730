"""`openai:URL#model` as an input: what it is without a network, what is recorded, and where it is no input at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stages
from stages.core.artifact import Endpoint, Model, Prompts
from stages.core.errors import EngineError, InputError, RecipeError
from stages.core.recipe import loading
from stages.core.run.endpoint import EndpointSettings
from stages.core.run.plan import plan
from stages.core.run.runner import run_node
from stages.core.run.sources import identity, resolve
from stages.core.storage.store import Store
from tests.policy.engines import fake_server as fake
from tests.policy.engines.fake_server import FakeServer

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with fake.running() as running:
        running.listing = fake.lists("tiny", root="org/tiny", max_model_len=512, owned_by="x" * 1000, permission=[1])
        yield running


@pytest.fixture
def speaks(monkeypatch: pytest.MonkeyPatch, toys: None) -> None:
    """Registers a toy stage that takes a model or an endpoint as `speak`."""
    monkeypatch.setitem(stages.STAGES, "speak", "tests.core.toy_speak")


def test_what_an_endpoint_is_needs_no_server(store: Store) -> None:
    prints = {
        text: identity(f"openai:http://nowhere.invalid/v1#{text}", (Model, Endpoint), store).fingerprint
        for text in ("tiny", "tiny@r1", "tiny@r2", "other")
    }
    assert len(set(prints.values())) == 4 and None not in prints.values()
    same = identity("openai:http://NOWHERE.invalid:80/v1/#tiny", Endpoint, store)
    assert same.fingerprint == prints["tiny"]
    assert not list(store.all())


def test_the_first_use_records_what_the_server_says(server: FakeServer, store: Store) -> None:
    text = f"openai:{server.url}#tiny"
    found = resolve(text, (Model, Endpoint), store)
    assert isinstance(found, Endpoint) and found.address == "tiny@1"
    assert found.metrics == {"model": "tiny", "system_fingerprint": "fp_1", "max_model_len": 512}
    listed = found.declared["said"]["listed"]
    assert listed["root"] == "org/tiny" and len(listed["owned_by"]) == 200 and "permission" not in listed
    assert found.fingerprint == identity(text, Endpoint, store).fingerprint
    assert len(server.bodies) == 1
    fake.stop(server)
    assert resolve(text, (Model, Endpoint), store).address == "tiny@1"  # no server is needed any more


def test_how_an_endpoint_is_asked_is_a_contract(server: FakeServer, store: Store) -> None:
    contract = resolve(f"openai:{server.url}#tiny", Endpoint, store).contract  # type: ignore[attr-defined]
    assert contract.render("2 + 2?") == "2 + 2?"
    assert (contract.think_tags, contract.max_positions) == (("<think>", "</think>"), 512)


def test_a_server_that_is_not_there_leaves_nothing_behind(server: FakeServer, store: Store) -> None:
    text = f"openai:{server.url}#tiny"
    fake.stop(server)
    with pytest.raises(EngineError, match="no OpenAI-compatible server answers"):
        resolve(text, Endpoint, store)
    assert not [path for path in store.home.rglob("*") if path.is_file() and ".lock" not in path.name]


def test_a_model_the_server_lacks_is_found_at_the_first_use(server: FakeServer, store: Store) -> None:
    server.script = lambda number, body: fake.status(404, "The model `big` does not exist.")
    with pytest.raises(EngineError, match="has no model `big`"):
        resolve(f"openai:{server.url}#big", Endpoint, store)


def test_the_key_is_in_no_file_of_the_store(server: FakeServer, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.listing = fake.lists("tiny", owned_by=KEY)
    server.script = lambda number, body: fake.say(KEY, version=KEY)
    resolve(f"openai:{server.url}#tiny", Endpoint, store, endpoint=EndpointSettings(key_env="MY_KEY"))
    assert server.keys == [f"Bearer {KEY}"]
    files = [path for path in store.home.rglob("*") if path.is_file()]
    assert files and not [path for path in files if KEY.encode() in path.read_bytes()]


def test_where_weights_are_needed_an_endpoint_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="only speaks, and model is needed here") as raised:
        identity("openai:http://127.0.0.1/v1#tiny", Model, store)
    assert "hf:owner/name" in raised.value.hint
    with pytest.raises(InputError, match="holds a password") as raised:
        identity("openai:http://me:s3cret@127.0.0.1/v1#tiny", Model, store)
    assert "s3cret" not in raised.value.told


@pytest.mark.parametrize("stage", ["rl", "sft", "distill", "kl", "logprobs", "reward-model"])
def test_no_stage_that_needs_weights_takes_an_endpoint(stage: str, store: Store) -> None:
    kinds = loading.input_kinds(stage)
    weights = [key for key, wanted in kinds.items() if Model in wanted.kinds and key != "teacher"]
    assert weights
    for key in weights:
        with pytest.raises(InputError, match="only speaks"):
            identity("openai:http://127.0.0.1/v1#tiny", kinds[key].kinds, store)


def test_an_input_may_be_of_several_kinds(server: FakeServer, store: Store, speaks: None, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        json.dumps({"id": "a", "problem": "2+2?", "answer": "4", "verifier": "math"}) + "\n", encoding="utf-8"
    )
    assert [key.type for key in loading.keys("speak") if key.key == "inputs.speaker"] == ["Model | Endpoint"]
    with pytest.raises(RecipeError, match=r"`speak` needs the input `speaker` \(model or endpoint\)"):
        plan([loading.load(None, "speak", [])], store)
    prompts = resolve(str(rows), Prompts, store)
    with pytest.raises(InputError, match=r"is of kind prompts, and model or endpoint is needed here"):
        plan([loading.load(None, "speak", [f"inputs.speaker={prompts.address}"])], store)
    node = loading.load(None, "speak", [f"inputs.speaker=openai:{server.url}#tiny"])
    (step,) = plan([node], store)
    assert step.action == "build" and not server.bodies
    built = run_node(node, store)
    assert built.record.inputs == {"speaker": "tiny@1"} and built.fingerprint == step.fingerprint
    assert plan([node], store)[0].action == "reuse"


def test_a_node_that_gives_another_kind_is_refused_in_words(store: Store, speaks: None, toys: Any) -> None:
    made = run_node(loading.load(None, "make", []), store)
    node = loading.load(None, "speak", ["inputs.speaker=earlier"])
    with pytest.raises(InputError, match="`speak` takes model or endpoint as `speaker`, and `earlier` gives prompts"):
        run_node(node, store, None, {"earlier": made})
