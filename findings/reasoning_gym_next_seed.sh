#!/usr/bin/env bash
# reasoning-gym: the data set of the next seed is this one, moved by one item
#
# Item i of a data set is drawn from seed + i. Seeds 1 and 2 therefore give the same problems but one, and a held-out
# set made with another seed (42 and 43) is the training set: an evaluation on it shows what was learned by heart.
# Seeds must lie further apart than a set is long.
#
# Seen with reasoning-gym 0.1.25, Python 3.11, 200 items each:
#   chain_sum             199 of 200 items of seed 43 are items of seed 42
#   countdown             199 of 200 items of seed 43 are items of seed 42
#   leg_counting          199 of 200 items of seed 43 are items of seed 42
#   countdown, seeds 42 and 10042: 0 of 200
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


def questions(name, seed):
    return [item["question"] for item in reasoning_gym.create_dataset(name, size=200, seed=seed)]


for name in ["chain_sum", "countdown", "leg_counting"]:
    train, test = questions(name, 42), questions(name, 43)
    print(f"{name:21s} {len(set(test) & set(train))} of 200 items of seed 43 are items of seed 42")
    assert test[:199] == train[1:], f"{name}: the next seed gives other items now"
far = set(questions("countdown", 42)) & set(questions("countdown", 10042))
print(f"countdown, seeds 42 and 10042: {len(far)} of 200")
assert not far, "seeds far apart share items now"
EOF
