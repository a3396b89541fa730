"""Tiny models in the styles that people have: a tokenizer with a family's special tokens, template and ends, and a
random Llama or Gemma 3 of two layers. `folder(STYLE, path)` writes one as its makers do."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

TEXT = [
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "<think> reasoning </think> <answer> 42 </answer>",
    "We add five and seven to get twelve, so x = 12. Today Date: Cutting Knowledge",
] * 3
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role']=='assistant' else m['role'])"
    " + '\n' + m['content']|trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA = (
    "{{- bos_token }}{%- if strftime_now is defined %}{%- set d = strftime_now('%d %b %Y') %}{%- else %}"
    "{%- set d = '26 Jul 2024' %}{%- endif %}{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + d"
    " + '\n\n<|eot_id|>' }}{%- for m in messages %}{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
QWEN = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NOTHINK = QWEN.replace(
    "assistant\n' }}{% endif %}",
    "assistant\n' }}{% if enable_thinking is defined and enable_thinking %}{{ '<think>\n' }}"
    "{% else %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
)
R1_DISTILL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}{% elif"
    " m['role'] == 'assistant' %}{{ '<|Assistant|>' + m['content'].split('</think>')[-1] + eos_token }}{% else %}"
    "{{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)


class Style(NamedTuple):
    """What makes a family's tokenizer."""

    special: tuple[str, ...]
    template: str
    named: dict[str, str]
    """bos_token and the like."""
    ends: list[int]
    """eos ids of generation_config and config."""
    begins: str = ""
    """A token that the post-processor writes before every text."""
    closes: str = ""
    """A token that the post-processor writes behind every text."""


_PLAIN = ("<unk>", "<s>", "</s>", "<pad>")
_PLAIN_NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
STYLES = {
    "gemma": Style(
        ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
        GEMMA,
        {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
        [1, 5],
        begins="<bos>",
    ),
    "llama3": Style(
        (
            *("<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
            *("<|start_header_id|>", "<|end_header_id|>", "<|finetune_right_pad_id|>"),
        ),
        LLAMA,
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        [1, 2, 3],
        begins="<|begin_of_text|>",
    ),
    "qwen": Style(
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        QWEN,
        {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
        [0],
    ),
    "nothink": Style(
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        NOTHINK,
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        [2, 0],
    ),
    "r1_distill": Style(
        ("<s>", "</s>", "<pad>", "<|User|>", "<|Assistant|>"),
        R1_DISTILL,
        {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
        [1],
        begins="<s>",
    ),
    "plain": Style(_PLAIN, "", _PLAIN_NAMED, [2], begins="<s>"),
    "addeos": Style(_PLAIN, "", _PLAIN_NAMED, [2], begins="<s>", closes="</s>"),
}


def tokenizer(style: str, template: str | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer of a style, with its chat template or another one."""
    what = STYLES[style]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = list(what.special)
    made.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    if what.begins or what.closes:
        around = [token for token in (what.begins, what.closes) if token]
        made.post_processor = processors.TemplateProcessing(
            single=" ".join(filter(None, (what.begins, "$A", what.closes))),
            pair=" ".join(filter(None, (what.begins, "$A", "$B", what.closes))),
            special_tokens=[(token, special.index(token)) for token in around],
        )
    chosen = what.template if template is None else template
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=chosen or None, **what.named)


@cache
def _model(style: str) -> Any:
    torch.manual_seed(0)
    words, what = tokenizer(style), STYLES[style]
    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024}
    shape |= {"vocab_size": len(words), "bos_token_id": words.bos_token_id, "pad_token_id": words.pad_token_id}
    shape |= {"eos_token_id": what.ends}
    if style == "gemma":
        return Gemma3ForCausalLM(Gemma3TextConfig(**shape, head_dim=8, sliding_window=512))
    return LlamaForCausalLM(LlamaConfig(**shape))


def folder(style: str, path: Path, template: str | None = None) -> Path:
    """Write a model of a style, as it would be downloaded."""
    shutil.rmtree(path, ignore_errors=True)
    _model(style).save_pretrained(path)
    tokenizer(style, template).save_pretrained(path)
    generation = {"eos_token_id": STYLES[style].ends, "bos_token_id": tokenizer(style).bos_token_id}
    (path / "generation_config.json").write_text(json.dumps(generation))
    return path
