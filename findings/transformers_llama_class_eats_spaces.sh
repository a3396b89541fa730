#!/usr/bin/env bash
# transformers: the layout of DeepSeek-R1-Distill-Llama, in a folder of another name, loses its spaces
#
# The published folder holds a byte-level BPE in tokenizer.json, "tokenizer_class": "LlamaTokenizerFast" in
# tokenizer_config.json and "model_type": "llama" in config.json. transformers 5.17.0 builds its own LlamaTokenizer from
# the vocabulary and merges, with a SentencePiece pre-tokenizer instead of the file's byte level: words are cut elsewhere
# than the model was trained on, and decoding the ids gives the text back without a blank. No warning. The published
# repositories are excepted by their names on the hub, so the same files read from a local copy, a mirror or a finetune
# are not. The same happens beside qwen3 and gpt2; beside mistral and deepseek_v3, or with
# "tokenizer_class": "PreTrainedTokenizerFast", the file is read as it is.
#
# Seen with transformers 5.17.0, tokenizers 0.23.3, Python 3.11:
#   llama    LlamaTokenizerFast      -> LlamaTokenizer      'Weadd12and345,thencheck.'
#   qwen3    LlamaTokenizerFast      -> LlamaTokenizer      'Weadd12and345,thencheck.'
#   mistral  LlamaTokenizerFast      -> TokenizersBackend   'We add 12 and\n345, then check.'
#   llama    PreTrainedTokenizerFast -> TokenizersBackend   'We add 12 and\n345, then check.'
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore TRANSFORMERS_VERBOSITY=error
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q transformers==5.17.0 tokenizers==0.23.3
venv/bin/python - <<'EOS'
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

TEXT = "We add 12 and\n345, then check."
made = Tokenizer(models.BPE())
made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
made.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
special = ["<s>", "</s>"]
made.train_from_iterator(
    [TEXT] * 9,
    trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=special, show_progress=False),
)


def read_back(model_type, tokenizer_class):
    folder = Path(f"{model_type}-{tokenizer_class}")
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    names = {"tokenizer_class": tokenizer_class, "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.decode(tokenizer(TEXT, add_special_tokens=False)["input_ids"])
    print(f"{model_type:8} {tokenizer_class:23} -> {type(tokenizer).__name__:19} {text!r}")
    return text


eaten = TEXT.replace(" ", "").replace("\n", "")
assert read_back("llama", "LlamaTokenizerFast") == eaten, "beside llama the file is read in another way now"
assert read_back("qwen3", "LlamaTokenizerFast") == eaten, "beside qwen3 the file is read in another way now"
assert read_back("mistral", "LlamaTokenizerFast") == TEXT, "beside mistral the file is read in another way now"
assert read_back("llama", "PreTrainedTokenizerFast") == TEXT, "the plain class reads it in another way now"
EOS
