#!/usr/bin/env bash
# torch: Optimizer.load_state_dict casts an optimizer's float32 states to bfloat16 where the parameters are
#
# An optimizer that keeps float32 states beside bfloat16 parameters (a master copy, moments) saves them as they are.
# load_state_dict casts every floating-point state but "step" to the parameter's number type: what was saved in 32 bits
# comes back in 16, without a word, and a resumed run is another one. A master copy of 1.001 comes back as 1.0.
#
# Seen with torch 2.13.0 (CPU):
#   saved:  torch.float32 1.00100
#   loaded: torch.bfloat16 1.00000
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/python - <<'EOF'
import torch


class Master(torch.optim.Optimizer):
    """Keeps a float32 copy of each parameter, as mixed precision does."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    def step(self):
        pass


weight = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
before, after = Master([weight]), Master([weight])
before.state[weight] = {"master": torch.full((4,), 1.001)}
saved = before.state_dict()
after.load_state_dict(saved)
one, other = saved["state"][0]["master"], after.state[weight]["master"]
print(f"saved:  {one.dtype} {one[0].item():.5f}")
print(f"loaded: {other.dtype} {other[0].item():.5f}")
assert other.dtype == torch.bfloat16, "states keep their number type now"
EOF
