#!/usr/bin/env bash
# reasoning-gym: the task game_of_life_halting pays in full for the wrong answer
#
# The task asks whether a board comes to rest, True or False, and `score_answer` is meant as the reward of RL. It
# gives 1.0 for the right word, for the wrong one, and for any text at all; only an empty answer gets 0. A policy
# trained on it is rewarded for answering, not for being right.
#
# Seen with reasoning-gym 0.1.25, Python 3.11, mean score over 50 items:
#   right word 1.0    wrong word 1.0    'banana' 1.0    '' 0.0
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q reasoning-gym==0.1.25
venv/bin/python - <<'EOF'
import reasoning_gym

data = reasoning_gym.create_dataset("game_of_life_halting", size=50, seed=1)
other = {"True": "False", "False": "True"}


def mean(answer):
    return sum(data.score_answer(answer(item), item) for item in data) / len(data)


assert {item["answer"] for item in data} == set(other), "answers are not True and False any more"
right, wrong = mean(lambda item: item["answer"]), mean(lambda item: other[item["answer"]])
noise, empty = mean(lambda item: "banana"), mean(lambda item: "")
print(f"right word {right}    wrong word {wrong}    'banana' {noise}    '' {empty}")
assert (right, wrong, noise, empty) == (1.0, 1.0, 1.0, 0.0), "the task scores in another way now"
EOF
