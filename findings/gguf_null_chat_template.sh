#!/usr/bin/env bash
# gguf: a null chat_template in tokenizer_config.json hides the template's own file
#
# A folder's chat template lies in chat_template.jinja. Where tokenizer_config.json has "chat_template": null beside it
# (transformers writes that for a tokenizer that was made with chat_template=None), transformers uses the file.
# gguf.SpecialVocab, by which llama.cpp's converter reads the folder, takes the null: the GGUF has no template, without
# a word, and llama.cpp then asks the model in ChatML, whatever it was trained on.
#
# Seen with gguf 0.19.0, transformers 5.17.0:
#   transformers: Q: {{ messages[-1].content }} A:
#   gguf:         None
#   and without the null: Q: {{ messages[-1].content }} A:
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q gguf==0.19.0 transformers==5.17.0
venv/bin/python - <<'EOF'
import json
from pathlib import Path

import gguf
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

folder = Path("model")
words = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "</s>": 2}, merges=[]))
PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", chat_template=None).save_pretrained(folder)
(folder / "chat_template.jinja").write_text("Q: {{ messages[-1].content }} A:")
file = folder / "tokenizer_config.json"
config = json.loads(file.read_text())
file.write_text(json.dumps({**config, "chat_template": None}))

known = AutoTokenizer.from_pretrained(folder).chat_template
found = gguf.SpecialVocab(folder).chat_template
config.pop("chat_template", None)
file.write_text(json.dumps(config))
mended = gguf.SpecialVocab(folder).chat_template
print("transformers:", known)
print("gguf:        ", found)
print("and without the null:", mended)
assert known == mended == "Q: {{ messages[-1].content }} A:", "the file is not read where it should be"
assert found is None, "the null does not hide the file now"
EOF
