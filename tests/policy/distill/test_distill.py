"""The formulas of distillation by hand and as laws, the cache of a teacher's view, and one vocabulary for two."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as law
from hypothesis import strategies as st

from stages.core.contract import Contract
from stages.core.data import imitation
from stages.core.data.imitation import Example
from stages.core.errors import InputError
from stages.core.rows import Conversation, read_rows
from stages.policy.distill import cache as distill_cache
from stages.policy.distill import exam, vocab
from stages.policy.distill.losses import Top, bucketed_kl, full_kl, likeliest, logprobs
from stages.policy.models import folders, head
from tests.policy import pairs

TRL_VERSION = "1.16.0"
TEACHER = torch.tensor([[0.5, 0.25, 0.2, 0.05]]).log()
UNIFORM = torch.zeros(1, 4)


# ---- the divergence ----


def test_the_bucketed_kl_by_hand() -> None:
    """1/2 ln 2 + 1/4 ln 1 for the two kept, 1/4 ln (1/4 : 1/2) for the rest; the full one adds up all four."""
    top = likeliest(TEACHER, 2, 4)
    assert top.ids_NK.tolist() == [[0, 1]]
    assert top.tail_N.exp().item() == pytest.approx(0.25)
    assert bucketed_kl(top, UNIFORM, 4).item() == pytest.approx(0.5 * math.log(2) + 0.25 * math.log(0.5))
    full = 0.5 * math.log(2) + 0.2 * math.log(0.8) + 0.05 * math.log(0.2)
    assert full_kl(TEACHER, UNIFORM).item() == pytest.approx(full)


def test_all_tokens_kept_give_the_full_kl_and_no_rest() -> None:
    top = likeliest(TEACHER, 9, 4)
    assert top.ids_NK.shape == (1, 4) and top.tail_N.item() == -math.inf
    assert bucketed_kl(top, UNIFORM, 4).item() == pytest.approx(full_kl(TEACHER, UNIFORM).item())


def test_a_teacher_whose_rest_is_empty_gives_a_number_and_a_gradient() -> None:
    top = Top(torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]).log(), torch.tensor([-math.inf]))
    logits = torch.zeros(1, 4, requires_grad=True)
    loss = bucketed_kl(top, logits, 4).sum()
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2)) and bool(logits.grad.isfinite().all())


def test_a_student_that_agrees_has_no_loss_and_no_gradient() -> None:
    logits = TEACHER.clone().requires_grad_()
    loss = bucketed_kl(likeliest(TEACHER, 2, 4), logits, 4).sum()
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6) and logits.grad.abs().max().item() < 1e-6


ROWS = st.lists(st.floats(-8, 8), min_size=12, max_size=12)


@law(max_examples=200, deadline=None)
@given(teacher=ROWS, student=ROWS, k=st.integers(1, 12))
def test_merging_the_tail_never_raises_the_kl(teacher: list[float], student: list[float], k: int) -> None:
    """The data processing inequality: 0 <= bucketed(k) <= bucketed(k + 1) <= full."""
    theirs, mine = torch.tensor([teacher]).double(), torch.tensor([student]).double()
    values = [bucketed_kl(likeliest(theirs, n, 12), mine, 12).item() for n in (k, min(k + 1, 12), 12)]
    full = full_kl(logprobs(theirs, 12), mine).item()
    assert values[2] == pytest.approx(full, abs=1e-9)
    assert -1e-9 <= values[0] <= values[1] + 1e-9 <= full + 2e-9


@law(max_examples=50, deadline=None)
@given(teacher=ROWS, student=ROWS, more=st.lists(st.floats(-50, 50), min_size=1, max_size=3))
def test_rows_beyond_the_tokenizer_are_nothing_to_the_teacher_and_a_loss_to_the_student(
    teacher: list[float], student: list[float], more: list[float]
) -> None:
    theirs, mine = torch.tensor([teacher]), torch.tensor([student]).double()
    wider_theirs, wider_mine = torch.tensor([teacher + more]), torch.tensor([student + more]).double()
    wider_mine.requires_grad_()
    top = likeliest(theirs, 4, 12)
    wider = likeliest(wider_theirs, 4, 12)
    assert (
        wider.ids_NK.equal(top.ids_NK) and wider.logprobs_NK.equal(top.logprobs_NK) and wider.tail_N.equal(top.tail_N)
    )
    lost = -torch.log_softmax(wider_mine, -1)[:, :12].logsumexp(-1)  # what the padding takes, as nats
    for plain, padded in (
        (bucketed_kl(top, mine, 12), bucketed_kl(top, wider_mine, 12)),
        (full_kl(logprobs(theirs, 12), mine), full_kl(logprobs(theirs, 12), wider_mine)),
    ):
        assert (padded - plain).item() == pytest.approx(lost.item(), abs=1e-4)
        (gradient,) = torch.autograd.grad(padded.sum(), wider_mine)
        assert (gradient[:, 12:] >= 0).all()  # down, and never up


# ---- models ----


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    pairs.model(folder / "teacher", 1, hidden=48, pad_rows=8)
    pairs.model(folder / "student", 2, pad_rows=3)
    pairs.model(folder / "other", 4, more=("<other>",))
    pairs.traces(folder / "traces", 6)
    return folder


def made(home: Path) -> list[Example]:
    rows = read_rows(home / "traces" / "conversations.jsonl", Conversation)
    contract = Contract.read(home / "teacher")
    return list(imitation.examples(rows, contract, imitation.read_tokenizer(home / "teacher")))


def written(home: Path, folder: Path, k: int = 8, whole: int = 5) -> distill_cache.Cache:
    examples, teacher = made(home), folders.load_model(home / "teacher")
    writer = distill_cache.Writer(lambda: teacher, folder, k=k, vocabulary=262, rows=4)
    folder.mkdir()
    trained = [len(one.completion_ids) for one in examples]
    chosen = distill_cache.kept_whole(trained, whole, 0)
    for number, rows in enumerate(distill_cache.shards(trained)):
        own = [(row - rows.start, place) for row, place in chosen if row in rows]
        writer.write(number, examples[rows.start : rows.stop], own)
    (folder / "cache.json").write_text(json.dumps({"top_k": k, "vocabulary": 262}))
    Contract.read(home / "teacher").write(folder / "contract.json")
    return distill_cache.Cache(folder)


def test_the_cache_holds_what_the_teacher_says_over_all_shards(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill_cache, "SHARD_TOKENS", 100)
    cache = written(home, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("shard-*.safetensors"))) > 1
    examples, teacher = made(home), folders.load_model(home / "teacher")
    assert [tuple(map(list, one)) for one in cache.examples] == [tuple(map(list, one)) for one in examples]
    whole = {(one.row, one.place): one.logprobs_V for one in cache.whole()}
    assert len(whole) == 5
    for row, one in enumerate(examples):
        ids = torch.tensor([[*one.prompt_ids, *one.completion_ids]])
        with torch.no_grad():
            logits = teacher(ids).logits[0, len(one.prompt_ids) - 1 : -1]
        expected, found = likeliest(logits, 8, 262), cache.top([row])
        assert found.logprobs_NK.allclose(expected.logprobs_NK, atol=1e-4)
        assert found.tail_N.allclose(expected.tail_N, atol=1e-4)
        for place in (place for other, place in whole if other == row):
            assert whole[row, place].allclose(logprobs(logits, 262)[place], atol=1e-4)
    two = cache.top([4, 1])
    assert two.tail_N.equal(torch.cat([cache.top([4]).tail_N, cache.top([1]).tail_N]))


def test_the_exam_is_the_mean_over_tokens_and_the_tail_s_error_is_the_difference(home: Path, tmp_path: Path) -> None:
    cache, student = written(home, tmp_path / "cache", whole=400), folders.load_model(home / "student")
    total = tokens = full = 0.0
    rows = [0, 3]
    for row in range(len(cache.examples)):
        one = cache.examples[row]
        ids = torch.tensor([[*one.prompt_ids, *one.completion_ids]])
        with torch.no_grad():
            logits = student(ids).logits[0, len(one.prompt_ids) - 1 : -1]
        whole = torch.stack([each.logprobs_V for each in cache.whole() if each.row == row])
        full += full_kl(whole, logits).sum().item()
        if row in rows:
            total += bucketed_kl(cache.top([row]), logits, 262).sum().item()
            tokens += len(one.completion_ids)
    heldout = exam.HeldoutTraces(cache, rows, 262, at_once=2)
    assert heldout.kl(student) == pytest.approx(total / tokens, rel=1e-4)
    hidden = heldout.hidden(student)
    every = sum(len(one.completion_ids) for one in cache.examples)
    assert hidden["full_kl"] == pytest.approx(full / every, rel=1e-4)
    assert hidden["tail_error"] == pytest.approx(hidden["full_kl"] - hidden["bucketed_kl"])
    assert 0 < hidden["tail_error"] < hidden["full_kl"]


def test_logits_looked_at_in_parts_give_the_same_values_and_gradients(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = written(home, tmp_path / "cache")
    loss, batch = exam.cached_loss(cache, [2, 3], 262), distill_cache.batch_of(cache.examples, [2, 3], "cpu")
    batch = type(batch)(**{**vars(batch), "rows": [0, 1]})

    def gradients() -> tuple[float, list[torch.Tensor]]:
        student = folders.load_model(home / "student")
        value, _ = loss(student, batch)
        value.backward()
        return value.item(), [one.grad for one in student.parameters()]

    whole = gradients()
    monkeypatch.setitem(head.LOGITS_AT_ONCE, "cpu", 265 * 7)
    parts = gradients()
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert all(a.allclose(b, atol=1e-5) for a, b in zip(parts[1], whole[1], strict=True))


def test_what_is_held_out_depends_on_ids_and_seed_alone() -> None:
    ids = [f"row-{n}" for n in range(40)]
    held = {ids[place] for place in exam.held_out(ids, 0.1, 0)}
    assert len(held) == 4
    assert {ids[::-1][place] for place in exam.held_out(ids[::-1], 0.1, 0)} == held
    assert {ids[place] for place in exam.held_out(ids, 0.1, 1)} != held
    assert exam.held_out(ids, 0.0, 0) == set() == exam.held_out(ids[:1], 0.5, 0)


# ---- one vocabulary ----


def test_the_shared_vocabulary_is_the_tokenizer_s_not_the_config_s(home: Path) -> None:
    assert [vocab.embedding_rows(home / name) for name in ("teacher", "student")] == [270, 265]
    assert vocab.vocabulary_of(home / "student", home / "teacher") == 262


def test_other_sizes_of_one_tokenizer_pass_and_another_tokenizer_is_refused(home: Path) -> None:
    vocab.refuse_other_tokenizer(home / "student", home / "teacher", "this", "")
    with pytest.raises(InputError) as caught:
        vocab.refuse_other_tokenizer(home / "other", home / "teacher", "mode x", vocab.TRACES_WORK)
    assert "mode x needs one tokenizer, and the student's is not the teacher's" in caught.value.what
    assert "'<other>'" in caught.value.what
    assert "`mode=traces` works with any tokenizer" in caught.value.hint


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_a_trimmed_model_says_the_same_of_what_is_left_and_comes_back_whole(home: Path, name: str) -> None:
    model = folders.load_model(home / name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        logits = model(ids).logits
        cut = vocab.trim(model, 262)
        assert model(ids).logits.allclose(logits[..., :262], atol=1e-5) and model.config.vocab_size == 262
        assert vocab.trim(model, 262) == {}
        vocab.restore(model, cut)
    after = model.state_dict()
    assert before.keys() == after.keys() and all(before[key].equal(after[key]) for key in before)


# ---- TRL ----
