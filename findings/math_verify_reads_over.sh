#!/usr/bin/env bash
# math-verify: what stands beside a number or behind an arrow is dropped from both sides, and wrong answers are right
#
# A gold answer and a completion are reduced to what the parser knows of them. Of a quantity the number is left, so that
# milliamperes equal megaamperes, degrees Celsius equal Fahrenheit, and evening equals morning; of a reaction the first
# number is left, so that its reverse is right; letters of an angle are multiplied, so that their order is lost. Sets of
# physics and chemistry questions pay wrong completions this way.
#
# Seen with math-verify 0.9.0, latex2sympy2_extended 1.11.0, sympy 1.14.0, Python 3.11 (gold, completion, verdict, what
# is left of both):
#   $5\text{ mA}$          $5\text{ MA}$          True  5 and 5
#   $20^\circ\text{C}$     $20^\circ\text{F}$     True  20 and 20
#   7 p.m.                 7 a.m.                 True  7 and 7
#   $2A + B \to C$         $C \to 2A + B$         True  2 and 2
#   $\angle ABC$           $\angle ACB$           True  a*angle*b*c and a*angle*b*c
set -euo pipefail
unset PYTHONPATH
export PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q math-verify==0.9.0 latex2sympy2_extended==1.11.0 sympy==1.14.0
venv/bin/python - <<'EOS'
from math_verify import parse, verify

PAIRS = {
    r"$5\text{ mA}$": r"$5\text{ MA}$",
    r"$20^\circ\text{C}$": r"$20^\circ\text{F}$",
    "7 p.m.": "7 a.m.",
    r"$2A + B \to C$": r"$C \to 2A + B$",
    r"$\angle ABC$": r"$\angle ACB$",
}
for gold, answer in PAIRS.items():
    ours, theirs = parse(gold), parse(answer)
    print(f"{gold:22} {answer:22} {verify(ours, theirs)}  {ours[0]} and {theirs[0]}")
    assert verify(ours, theirs), f"{answer} is no longer right for {gold}"
EOS
