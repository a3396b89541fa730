"""The embedded tokenizers: byte-level BPE trained on the world's documents; text in, a transformers tokenizer out.

Every digit is a token of its own, every byte has a token (nothing is unknown), the four tags are ordinary added
tokens (kept by `skip_special_tokens=True`), and decoding gives back what was encoded, after Unicode's NFC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

EOS, PAD = "<|end|>", "<|pad|>"
LLAMA_EOS = "<|eot|>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'assistant' %}{{ message.content }}<|end|>"
    "{% else %}User: {{ message.content }}. Assistant:{% endif %}{% endfor %}"
)
# Qwen2's own cut, which AutoTokenizer puts in place of any other beside a Qwen2 config: every digit stands alone.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


LLAMA_PIECES = r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""Another cut, for the student of another family: a space goes with the word after it, punctuation stands alone."""


def train(texts: Iterable[str], vocab_size: int = 896, family: str = "qwen2") -> Any:
    """Train on texts and return a `PreTrainedTokenizerFast` with pad and end tokens (ids vary with the texts).

    `family` (`qwen2`, `llama`) decides how texts are cut before pairs are merged, and the name of the end token.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pieces, eos = (PIECES, EOS) if family == "qwen2" else (LLAMA_PIECES, LLAMA_EOS)
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(TAGS),
        special_tokens=[PAD, eos],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        max_token_length=24,
    )
    core.train_from_iterator((text for whole in texts for text in _outside_tags(whole)), trainer)
    core.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=eos,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        chat_template=CHAT_TEMPLATE.replace(EOS, eos),
    )


def save(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer so that `AutoTokenizer` reads the same one back beside the config of its family."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # Without the explicit nulls, Qwen2Tokenizer adds <|endoftext|> to the vocabulary.
    named = "Qwen2Tokenizer" if tokenizer.eos_token == EOS else "PreTrainedTokenizerFast"
    config |= {"tokenizer_class": named, "unk_token": None, "bos_token": None}
    path.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _outside_tags(text: str) -> list[str]:
    """The text between tags: what the byte pairs are learned from."""
    for tag in TAGS:
        text = text.replace(tag, "\0")
    return [piece for piece in text.split("\0") if piece]
