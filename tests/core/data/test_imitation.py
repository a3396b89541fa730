"""Which tokens of a conversation train, and what is refused before any does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from stages.core.contract import Contract
from stages.core.data import imitation
from stages.core.data.imitation import Example
from stages.core.errors import ContractError, InputError, MissingError, StageError
from stages.core.rows import Conversation

TAGS = ["<think>", "</think>", "<answer>", "</answer>"]
THINK, UNTHINK, ANSWER, UNANSWER = 258, 259, 260, 261
PAD, EOS = 256, 257
LETTERS = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}


def words() -> Tokenizer:
    """A token for each byte, then pad, eos and the tags."""
    vocabulary = {**LETTERS, "<pad>": PAD, "<eos>": EOS}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<pad>", "<eos>"])
    made.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return made


def contract(template: str = "Q{prompt}A", prefill: str = "") -> Contract:
    return Contract(
        template=template,
        template_name="mine",
        prefill=prefill,
        eos_ids=[EOS],
        pad_id=PAD,
        tokenizer_sha256="",
        max_positions=64,
    )


def one(row: Conversation, agreed: Contract | None = None, tokenizer: Tokenizer | None = None) -> Example:
    return next(imitation.examples([row], agreed or contract(), tokenizer or words()))


def letters(text: str) -> list[int]:
    return [LETTERS[letter] for letter in text]


def test_the_prompt_is_read_and_thinking_tags_and_end_are_trained_on() -> None:
    made = one(Conversation("r", "1+1", "ab", "2"))
    assert list(made.prompt_ids) == letters("Q1+1A")
    assert list(made.completion_ids) == [THINK, *letters("ab"), UNTHINK, ANSWER, *letters("2"), UNANSWER, EOS]
    assert made.tokens == 5 + 8


def test_what_the_prompt_opens_is_not_trained_on_twice() -> None:
    made = one(Conversation("r", "1", "ab", "2"), contract(prefill="<think>"))
    assert list(made.prompt_ids) == [*letters("Q1A"), THINK]
    assert list(made.completion_ids) == [*letters("ab"), UNTHINK, ANSWER, *letters("2"), UNANSWER, EOS]


@pytest.mark.parametrize("reasoning", ["ab", "\nab"])
def test_a_prompt_that_opens_with_a_newline_holds_that_newline(reasoning: str) -> None:
    agreed = contract(prefill="<think>\n")
    made = one(Conversation("r", "1", reasoning, "2"), agreed)
    assert list(made.completion_ids)[:3] == [*letters("ab"), UNTHINK]
    assert agreed.render("1") + agreed.respond(reasoning, "2") == "Q1A<think>\nab</think><answer>2</answer>"


def test_a_row_without_reasoning_keeps_an_empty_span() -> None:
    assert list(one(Conversation("r", "hi", "", "yo")).completion_ids)[:3] == [THINK, UNTHINK, ANSWER]


def test_prompt_and_response_are_tokenised_apart_as_the_model_will_meet_them() -> None:
    """With a merge of A and a, one text would begin the response inside a token of the prompt."""
    merged = Tokenizer(models.BPE(vocab={**LETTERS, "Aa": 300, "<pad>": PAD, "<eos>": EOS}, merges=[("A", "a")]))
    merged.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    merged.decoder = decoders.ByteLevel()
    agreed = replace(contract(), think_tags=("a", "b"), answer_tags=("c", "d"))
    made = one(Conversation("r", "1", "xy", "2"), agreed, merged)
    assert merged.encode("Q1Aaxybc2d").ids[2] == 300
    assert list(made.prompt_ids) == letters("Q1A") and made.completion_ids[0] == LETTERS["a"]


def test_a_row_that_is_too_long_is_left_out_whole_and_counted() -> None:
    rows = [Conversation(f"r{n}", "1", "a" * n, "2") for n in (1, 2, 30, 3, 40)]
    made = list(imitation.examples(rows, contract(), words()))
    kept, dropped = imitation.fitting(made, 12)
    assert [example.id for example in kept] == ["r1", "r2", "r3"] and dropped == 2
    assert [list(example.completion_ids)[-1] for example in kept] == [EOS] * 3
    assert imitation.fitting(made, 11)[1] == 3, "one token too many is too long"


def test_when_every_row_is_too_long_the_shortest_is_told() -> None:
    made = imitation.examples([Conversation("r", "1", "abc", "2")], contract(), words())
    with pytest.raises(InputError, match="all 1 rows are longer than 5 tokens; the shortest has 12") as caught:
        imitation.fitting(made, 5)
    assert "max_tokens=12" in caught.value.hint


class Stripping(Contract):
    """A contract that writes a response as the stock template of the distilled models does."""

    def respond(self, reasoning: str, summary: str) -> str:
        return super().respond(reasoning, summary).split(self.think_tags[1])[-1]


def test_a_template_that_strips_reasoning_is_caught_and_the_row_is_named() -> None:
    agreed = Stripping(**vars(contract()))
    with pytest.raises(ContractError, match="row r7: its reasoning is not among the tokens that would be trained"):
        one(Conversation("r7", "1", "ab", "2"), agreed)
    with pytest.raises(StageError, match="row r8: <think> </think> would not be trained"):
        one(Conversation("r8", "1", "", "2"), agreed)


def test_a_tokenizer_that_changes_the_reasoning_is_caught() -> None:
    lower = words()
    lower.normalizer = normalizers.Lowercase()
    with pytest.raises(ContractError, match="row r: its reasoning"):
        one(Conversation("r", "1", "Ab", "2"), tokenizer=lower)
    assert one(Conversation("r", "1", "ab", "2"), tokenizer=lower)


def test_composed_letters_are_the_same_text() -> None:
    nfc = words()
    nfc.normalizer = normalizers.NFC()
    assert one(Conversation("r", "1", "cafe\u0301", "2"), tokenizer=nfc)


def test_a_text_that_holds_the_end_token_is_refused() -> None:
    with pytest.raises(ContractError, match="row r: its text holds the end token '<eos>'"):
        one(Conversation("r", "1", "a<eos>b", "2"))


def test_a_padding_token_that_ends_is_refused() -> None:
    with pytest.raises(ContractError, match="pad token"):
        one(Conversation("r", "1", "a", "2"), replace(contract(), pad_id=EOS))


def test_a_row_without_its_end_token_or_its_prompt_is_refused() -> None:
    row = Conversation("r", "1", "a", "2")
    made = one(row)
    with pytest.raises(StageError, match="is no end token"):
        imitation.check(made._replace(completion_ids=list(made.completion_ids)[:-1]), ("a", "2"), contract(), words())
    with pytest.raises(InputError, match="its prompt is empty"):
        one(replace(row, problem=""), contract(template=""))


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"holds no tokenizer\.json"):
        imitation.read_tokenizer(tmp_path)


def test_a_tokenizer_file_that_remembers_a_cut_does_not_cut(tmp_path: Path) -> None:
    cutting = words()
    cutting.enable_truncation(3)
    cutting.enable_padding(length=4)
    cutting.save(str(tmp_path / "tokenizer.json"))
    assert imitation.read_tokenizer(tmp_path).encode("abcdef").ids == letters("abcdef")


@given(reasoning=st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=40), summary=st.text("abc 12"))
@settings(max_examples=100, deadline=None)
def test_whatever_is_trained_reads_back_as_it_was_written(reasoning: str, summary: str) -> None:
    summary = f"s{summary}"  # a row without one is left out
    row = Conversation("r", "1", reasoning, summary)
    made = one(row)
    text = words().decode(list(made.completion_ids), skip_special_tokens=False)
    assert text == f"<think>{reasoning}</think><answer>{summary}</answer><eos>"
