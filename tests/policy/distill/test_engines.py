"""A teacher's cache written by an engine that reads is the one written from logits."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages import logprobs
from stages.core.artifact import Model
from stages.core.contract import Contract
from stages.core.data import imitation
from stages.core.data.imitation import Example
from stages.core.errors import EngineError
from stages.core.rows import Conversation, read_rows
from stages.policy.distill import cache
from stages.policy.engines.local.engine import LocalEngine
from stages.policy.models import folders
from tests.policy import pairs, tiny

VOCABULARY, K = 262, 8


def examples(teacher: Model, folder: Path) -> list[Example]:
    traces = pairs.traces(folder, 6)
    rows = read_rows(traces.path / "conversations.jsonl", Conversation)
    return list(imitation.examples(rows, teacher.contract, imitation.read_tokenizer(teacher.path)))


def written(writer: cache.Writer, made: list[Example], whole: int) -> cache.Cache:
    writer.folder.mkdir()
    writer.write(0, made, cache.kept_whole([len(one.completion_ids) for one in made], whole, 0))
    (writer.folder / "cache.json").write_text(f'{{"top_k": {K}, "vocabulary": {VOCABULARY}}}')
    Contract(template="", template_name="", eos_ids=[1], pad_id=0, tokenizer_sha256="", max_positions=128).write(
        writer.folder
    )
    return cache.Cache(writer.folder)


def assert_same(one: cache.Cache, other: cache.Cache) -> None:
    rows = range(len(one.examples))
    assert len(rows) and one.examples == other.examples
    mine, theirs = one.top(rows), other.top(rows)
    assert mine.logprobs_NK.allclose(theirs.logprobs_NK, atol=1e-4)
    assert (mine.ids_NK == theirs.ids_NK).float().mean() > 0.99  # near ties may change places
    assert mine.tail_N.exp().allclose(theirs.tail_N.exp(), atol=2e-5)
    whole = list(zip(one.whole(), other.whole(), strict=True))
    assert whole and all(a[:2] == b[:2] and a.logprobs_V.allclose(b.logprobs_V, atol=1e-4) for a, b in whole)


def test_an_engine_writes_what_the_logits_say(tmp_path: Path) -> None:
    teacher = pairs.model(tmp_path / "teacher", 1)
    made, model = examples(teacher, tmp_path / "traces"), folders.load_model(teacher.path)
    engine = LocalEngine(model, teacher.contract)
    read = cache.EngineWriter(lambda: engine, tmp_path / "read", k=K, vocabulary=VOCABULARY, rows=VOCABULARY)
    plain = cache.Writer(lambda: model, tmp_path / "plain", k=K, vocabulary=VOCABULARY, rows=4)
    assert_same(written(read, made, 5), written(plain, made, 5))


def test_ids_beyond_the_tokenizer_are_never_among_the_likeliest_and_their_mass_is_told(tmp_path: Path) -> None:
    teacher = pairs.model(tmp_path / "teacher", 1, pad_rows=8)
    made, model = examples(teacher, tmp_path / "traces"), folders.load_model(teacher.path)
    engine = LocalEngine(model, teacher.contract)

    def writer(name: str) -> cache.EngineWriter:
        return cache.EngineWriter(lambda: engine, tmp_path / name, k=260, vocabulary=VOCABULARY, rows=270)

    top = written(writer("tops"), made, 0).top(range(6))
    assert top.ids_NK.shape[1] == 260 and int(top.ids_NK.max()) < VOCABULARY
    assert (top.logprobs_NK.diff(dim=1) <= 0).all()
    with pytest.raises(EngineError, match="to ids that its tokenizer has not"):
        written(writer("whole"), made, 3)


@pytest.mark.vllm
def test_the_stage_reads_with_vllm_what_it_reads_with_transformers(tmp_path: Path) -> None:
    teacher = pairs.model(tmp_path / "teacher", 2, hidden=64)
    inputs = logprobs.Inputs(teacher=teacher, conversations=pairs.traces(tmp_path / "traces", 6))
    recipe = logprobs.Recipe(top_k=K, whole_tokens=5)
    found = []
    for name in ("vllm", "transformers"):
        work = tiny.work(tmp_path / name, engine=name)
        found.append(logprobs.run(recipe, inputs, work).metrics)
        work.events.close()
    assert_same(*(cache.Cache(tmp_path / name) for name in ("vllm", "transformers")))
    assert found[0]["tail_mass"] == pytest.approx(found[1]["tail_mass"], rel=1e-4)
    assert found[0]["bucket"]["positions"] == found[1]["bucket"]["positions"] == 5
    assert found[0]["bucket"]["full_kl"] == pytest.approx(found[1]["bucket"]["full_kl"], rel=1e-3)
