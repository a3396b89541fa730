#!/usr/bin/env bash
# datasets: one number among the answers, and the texts beside it are parsed
#
# A JSONL file of problems whose `answer` is a number in some rows and a text in others is valid JSON. datasets 5.2.0
# loads it without a word, and every text that happens to be JSON comes back as what it parses to: "007" is 7, "1.50"
# is 1.5, "true" is True, "[1, 2]" is a list, "null" is None. The same texts stay texts where no row holds a number:
# so one added row changes the gold answers of all others, and a reward that compares texts then refuses right
# completions.
#
# Seen with datasets 5.2.0, Python 3.11:
#   all texts:       ['007', '1.50', 'true', '[1, 2]', 'null', 'x = 3']
#   with a number:   [7, 1.5, True, [1, 2], None, 'x = 3', 42]
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q datasets==5.2.0
venv/bin/python - <<'EOF'
import json
from pathlib import Path

from datasets import disable_progress_bars, load_dataset

disable_progress_bars()


def loaded(name, answers):
    Path(name).write_text("".join(json.dumps({"answer": answer}) + "\n" for answer in answers))
    return list(load_dataset("json", data_files=name, split="train", cache_dir="cache")["answer"])


texts = ["007", "1.50", "true", "[1, 2]", "null", "x = 3"]
alone, mixed = loaded("texts.jsonl", texts), loaded("mixed.jsonl", [*texts, 42])
print("all texts:     ", alone)
print("with a number: ", mixed)
assert alone == texts, "texts alone no longer stay texts"
assert mixed == [7, 1.5, True, [1, 2], None, "x = 3", 42], "texts beside a number are read in another way now"
EOF
