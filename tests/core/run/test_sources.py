"""Outside things enter once, with a record of what was really read."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stages.core.artifact import Artifact, Conversations, Model, Preferences, Prompts, Scores
from stages.core.contract import R1_ZERO_TEMPLATE, Contract
from stages.core.errors import ContractError, InputError, MissingError, RecipeError, UnreachableError
from stages.core.rows import Conversation, Labelled, Preference, Prompt, write_rows
from stages.core.run.sources import identity, resolve
from stages.core.storage.store import Store
from tests.fake_hub import COMMIT, running


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of two prompts."""
    write_rows(tmp_path / "my rows.jsonl", [Prompt("a", "1+1?", "2", "math"), Prompt("b", "2+2?", "4", "math")])
    return tmp_path / "my rows.jsonl"


def _importing(monkeypatch: pytest.MonkeyPatch, pad_id: int = 0) -> list[tuple[str, dict[str, Any]]]:
    """Puts a recording import_model where the real one would be imported from."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def import_model(source: str, folder: Path, *, told: Any = None, **options: Any) -> dict[str, Any]:
        calls.append((source, options))
        (folder / "model.safetensors").write_bytes(b"weights")
        Contract(
            template=R1_ZERO_TEMPLATE, template_name="r1_zero", eos_ids=[1], pad_id=pad_id, tokenizer_sha256="ab",
            max_positions=64,
        ).write(folder)  # fmt: skip
        return {"parameters": 7}

    module = ModuleType("stages.policy.models.importing")
    module.import_model = import_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stages.policy.models.importing", module)
    return calls


def test_a_file_of_prompts_is_imported_once_and_found_after(store: Store, rows: Path, tmp_path: Path) -> None:
    before = identity(str(rows), Prompts, store)
    assert before.artifact is None
    first = resolve(str(rows), Prompts, store)
    assert (first.address, first.metrics, first.fingerprint) == ("my-rows@1", {"rows": 2}, before.fingerprint)
    assert first.record.stage == "import" and first.record.provenance["source"] == str(rows)
    assert resolve(str(rows), Prompts, store) == first == identity(str(rows), Prompts, store).artifact
    rows.rename(tmp_path / "other.jsonl")
    assert resolve(str(tmp_path / "other.jsonl"), Prompts, store) == first  # the same bytes are the same thing


def test_a_file_of_conversations_is_imported_row_by_row(store: Store, tmp_path: Path) -> None:
    rows = [Conversation("a", "1+1?", "one and one", "2"), Conversation("b", "hi", "", "hello", language="en")]
    write_rows(tmp_path / "said.jsonl", rows)
    sealed = resolve(str(tmp_path / "said.jsonl"), Conversations, store)
    assert isinstance(sealed, Conversations) and sealed.address == "said@1" and sealed.metrics == {"rows": 2}
    assert sealed.rows() == rows
    assert identity(str(tmp_path / "said.jsonl"), Conversations, store).artifact == sealed


def test_a_file_of_preferences_may_hold_pairs_or_points(store: Store, tmp_path: Path) -> None:
    pairs, points = [Preference("a", "hi", "hello", "go away", 3.0)], [Labelled("a", "hi", "hello", True)]
    write_rows(tmp_path / "pairs.jsonl", pairs)
    write_rows(tmp_path / "points.jsonl", points)
    first = resolve(str(tmp_path / "pairs.jsonl"), Preferences, store)
    second = resolve(str(tmp_path / "points.jsonl"), Preferences, store)
    assert isinstance(first, Preferences) and first.pairs() == pairs
    assert isinstance(second, Preferences) and second.points() == points


def test_rows_of_another_kind_and_a_folder_are_refused(store: Store, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks `reasoning`"):
        resolve(str(rows), Conversations, store)
    with pytest.raises(InputError, match="cannot be taken as conversations") as caught:
        resolve(str(tmp_path), Conversations, store)
    assert "r1 prepare source=" in caught.value.hint and "kind=conversations" in caught.value.hint
    assert store.all() == []


def test_a_changed_file_is_the_next_number(store: Store, rows: Path) -> None:
    resolve(str(rows), Prompts, store)
    write_rows(rows, [Prompt("a", "1+1?", "3", "math")])
    assert resolve(str(rows), Prompts, store).address == "my-rows@2"
    assert resolve(str(rows), Prompts, store, name="mine").address == "my-rows@2"


def test_a_bad_row_imports_nothing_and_leaves_nothing_to_reuse(store: Store, rows: Path) -> None:
    with rows.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(InputError) as caught:
        resolve(str(rows), Prompts, store)
    assert caught.value.where == f"{rows}:3"
    assert store.all() == []


def test_a_model_folder_is_imported_with_its_hashes_and_its_pad_token(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _importing(monkeypatch)
    folder = tmp_path / "tiny"
    folder.mkdir()
    with pytest.raises(InputError, match=r"holds no \.safetensors or \.gguf"):
        resolve(str(folder), Model, store)
    (folder / "model.safetensors").write_bytes(b"w")
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("not read")
    model = resolve(str(folder), Model, store)
    assert isinstance(model, Model) and model.contract.pad_id == 0
    assert sorted(model.record.payload["recipe"]["source"]["files"]) == ["config.json", "model.safetensors"]
    assert resolve(str(folder), Model, store) == model
    other = resolve(str(folder), Model, store, name="padded", pad_token="<pad>")
    assert other.address == "padded@1"
    assert calls == [(str(folder), {}), (str(folder), {"pad_token": "<pad>"})]


def test_a_model_whose_pad_is_its_eos_is_not_let_in(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _importing(monkeypatch, pad_id=1)
    (tmp_path / "weights.gguf").write_bytes(b"w")
    with pytest.raises(ContractError, match="pad token"):
        resolve(str(tmp_path / "weights.gguf"), Model, store)
    assert store.all() == []


def test_a_hub_model_is_known_by_the_commit_that_was_read_and_read_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _importing(monkeypatch)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"w")
    with running(monkeypatch, tmp_path / "cache") as fake:
        fake.repositories["owner/tiny"] = tmp_path / "tiny"
        assert identity("hf:owner/tiny", Model, store).fingerprint is None
        model = resolve("hf:owner/tiny", Model, store)
        assert model.record.payload["recipe"]["source"] == {"hub": "owner/tiny", "commit": COMMIT}
        assert [(Path(path).name, options) for path, options in calls] == [(COMMIT, {})]
        fake.status = 503
        assert resolve("hf:owner/tiny", Model, store) == model == identity("hf:owner/tiny", Model, store).artifact
        assert identity(f"hf:owner/tiny@{COMMIT}", Model, store).artifact == model  # a commit needs no network
        with pytest.raises(UnreachableError, match="cannot be asked for `hf:owner/other`"):
            resolve("hf:owner/other", Model, store)
    with pytest.raises(InputError, match="not hf:owner/name"):
        resolve("hf:tiny", Model, store)


def test_the_embedded_world_is_a_source_without_torch(store: Store) -> None:
    known = identity("world:heldout?count=20", Prompts, store)
    found = resolve("world:heldout?count=20", Prompts, store)
    assert (found.name, found.fingerprint, len(found.rows())) == ("heldout", known.fingerprint, 20)


def test_what_nobody_knows_or_nobody_can_take_is_said_in_one_sentence(store: Store, rows: Path, tmp_path: Path) -> None:
    resolve(str(rows), Prompts, store, name="rows")
    with pytest.raises(MissingError, match="no artifact `rwos`") as caught:
        resolve("rwos", Prompts, store)
    assert "did you mean `rows`?" in caught.value.hint
    with pytest.raises(MissingError, match="no artifact, folder or file"):
        resolve(str(tmp_path / "none.jsonl"), Prompts, store)
    with pytest.raises(InputError, match="cannot be taken as scores"):
        resolve(str(rows), Scores, store)
    (tmp_path / "rows.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="cannot be taken as prompts") as caught:
        resolve(str(tmp_path / "rows.csv"), Prompts, store)
    assert "r1 prepare" in caught.value.hint
    with pytest.raises(InputError, match="is of kind prompts, and model is needed"):
        resolve("rows@1", Model, store)


@pytest.mark.parametrize(
    ("text", "kind"), [("world:gsm8k-train", Model), ("world:base", Conversations), ("world:cold-start", Prompts)]
)
def test_a_world_source_of_another_kind_is_refused_before_anything_is_made(
    store: Store, text: str, kind: type[Artifact]
) -> None:
    with pytest.raises(RecipeError, match=f"`{text}` is a source of "):
        identity(text, kind, store)
