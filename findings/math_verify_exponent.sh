#!/usr/bin/env bash
# math-verify: 1e3 is the product of 1, Euler's number and 3
#
# A completion that writes a number with an exponent, as programs and pocket calculators do, is read as a product with
# Euler's number where it stands in a box, and as its first digit where it stands bare. So right answers to questions
# of physics or large numbers earn nothing, and `\boxed{1e3}` is right for a gold answer of 3e.
#
# Seen with math-verify 0.9.0, Python 3.11:
#   \boxed{1e3}  read as 3*E      right for 1000: False
#   1e3          read as 1        right for 1000: False
#   \boxed{1e-3} read as -3 + E   right for 0.001: False
#   \boxed{1e3}  right for 3e: True
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q "math-verify[antlr4_13_2]==0.9.0"
venv/bin/python - <<'EOF'
from math_verify import parse, verify
from sympy import E, simplify


def right(gold, answer):
    return verify(parse(f"${gold}$"), parse(answer))


for answer, gold in [(r"\boxed{1e3}", "1000"), ("1e3", "1000"), (r"\boxed{1e-3}", "0.001")]:
    print(f"{answer:12s} read as {simplify(parse(answer)[0])}  right for {gold}: {right(gold, answer)}")
    assert not right(gold, answer), f"{answer} is right for {gold} now"
    assert right(gold, rf"\boxed{{{gold}}}"), "the gold answer itself is not right"
assert simplify(parse(r"\boxed{1e3}")[0] - 3 * E) == 0, "1e3 is read in another way now"
assert parse("1e3")[0] == 1, "a bare 1e3 is read in another way now"
print(r"\boxed{1e3}  right for 3e:", right("3e", r"\boxed{1e3}"))
assert right("3e", r"\boxed{1e3}"), "1e3 is not 3e any more"
EOF
