#!/usr/bin/env bash
# math-verify: the greatest common divisor of two letters is 1, so that answers of number theory are all alike
#
# `\gcd(m,n)` is parsed into sympy's gcd, which takes letters for independent polynomials and works out 1 at once. A gold
# answer that holds such a term becomes another formula: any other pair of letters is right for it, and so is the answer
# with the term left out. Partial derivatives of unapplied letters are alike in their value, so turning one round is right.
#
# Seen with math-verify 0.9.0, latex2sympy2_extended 1.11.0, sympy 1.14.0, Python 3.11 (gold, completion, verdict, what
# is left of both):
#   $\gcd(m,n)$                             $\gcd(m,k)$                             True  1 and 1
#   $\gcd(18,n)$                            $1$                                     True  1 and 1
#   $2^{\gcd(m,n)}-1$                       $1$                                     True  -1 + 2**1 and 1
#   $\frac{\partial x}{\partial y}$         $\frac{\partial y}{\partial x}$         True  Derivative(x, y) and Derivative(y, x)
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
    r"$\gcd(m,n)$": r"$\gcd(m,k)$",
    r"$\gcd(18,n)$": "$1$",
    r"$2^{\gcd(m,n)}-1$": "$1$",
    r"$\frac{\partial x}{\partial y}$": r"$\frac{\partial y}{\partial x}$",
}
for gold, answer in PAIRS.items():
    ours, theirs = parse(gold), parse(answer)
    print(f"{gold:39} {answer:39} {verify(ours, theirs)}  {ours[0]} and {theirs[0]}")
    assert verify(ours, theirs), f"{answer} is no longer right for {gold}"
EOS
