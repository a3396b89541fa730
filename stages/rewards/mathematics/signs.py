r"""What a Unicode sign is in LaTeX: a text enters, the same text leaves with Θ as \Theta, ∼ as \sim, x₀ as x_{0}.

One table for the reader of formulas and for comparisons by text, so that a gold and an answer may each write either.
"""

from __future__ import annotations

import re
import unicodedata

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega"
    " Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
_SIGNS = {
    "varphi": "ϕ", "vartheta": "ϑ", "varepsilon": "ϵ", "varrho": "ϱ", "Omega": "\u2126", "mu": "\u00b5", "hbar": "ħℏ",
    "ell": "ℓ", "nabla": "∇", "partial": "∂", "aleph": "ℵ", "sim": "∼∽", "simeq": "≃", "approx": "≈", "cong": "≅≌",
    "parallel": "∥", "Vert": "‖", "mid": "∣", "perp": "⊥⟂", "triangle": "△▵", "angle": "∠∡", "equiv": "≡",
    "propto": "∝", "to": "→⟶", "gets": "←⟵", "leftrightarrow": "↔⟷", "Rightarrow": "⇒⟹", "Leftarrow": "⇐⟸",
    "iff": "⇔⟺", "rightleftharpoons": "⇌⇋", "mapsto": "↦⟼", "in": "∈", "notin": "∉", "ni": "∋", "subset": "⊂",
    "subseteq": "⊆", "supset": "⊃", "supseteq": "⊇", "cup": "∪⋃", "cap": "∩⋂", "setminus": "∖", "emptyset": "∅",
    "le": "≤⩽≦", "ge": "≥⩾≧", "ne": "≠", "ll": "≪", "gg": "≫", "pm": "±", "mp": "∓", "circ": "∘", "oplus": "⊕",
    "wedge": "∧", "vee": "∨", "neg": "¬", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "langle": "⟨",
    "rangle": "⟩", "infty": "∞", "pi": "π",
}  # fmt: skip
_LATEX = {ord(sign): f"\\{name} " for name, signs in _SIGNS.items() for sign in signs}
for _name in _GREEK.split():
    _letter = f"GREEK {'SMALL' if _name.islower() else 'CAPITAL'} LETTER {_name.upper().replace('LAMBDA', 'LAMDA')}"
    _LATEX[ord(unicodedata.lookup(_letter))] = f"\\{_name} "
_LATEX |= {ord("ς"): "\\sigma ", ord("′"): "'", ord("″"): "''", ord("‴"): "'''", ord("’"): "'", ord("‐"): "-"}
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₌ₙₖₘₓᵢⱼ", "0123456789+-=nkmxij")
_SUBSCRIPT = re.compile("[₀-₌ₙₖₘₓᵢⱼ]+")
_STYLED = re.compile("[\U0001d400-\U0001d7ff]+")


def latex(text: str) -> str:
    r"""Return a text with its Unicode signs, Greek letters, subscripts and styled letters as LaTeX writes them."""
    if text.isascii():
        return text
    text = _STYLED.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text)
    text = _SUBSCRIPT.sub(lambda match: f"_{{{match.group().translate(_LOWERED)}}}", text)
    return text.translate(_LATEX)
