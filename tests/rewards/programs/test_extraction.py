"""The program is the last block that the final part offers in a language that can be run."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rewards.programs import extraction
from tests.rewards.contracts import contract, row


def find(completion: str, language: str = "", prefill: str = "") -> tuple[str, str]:
    meta = {"code_language": language} if language else {}
    source = extraction.find(completion, row("", "code", meta=meta), contract(prefill))
    return (source.fault, "") if source.fault else (source.text, source.language)


FOUND = {
    "a fence": ("so:\n```python\nx = 1\n```\nthat is it", "x = 1"),
    "the last of two": ("```python\nx = 1\n```\nno:\n```python\nx = 2\n```", "x = 2"),
    "its output passed over": ("```python\nx = 1\n```\nprints\n```text\n1\n```\n```bash\npython x.py\n```", "x = 1"),
    "its output in a fence without a name": ("```python\nx = 1\n```\nprints\n```\n1\n```", "x = 1"),
    "a fence in a list": ("1. so\n   ```python\n   def f():\n       pass\n   ```", "def f():\n    pass"),
    "a fence in a docstring": (
        '```python\ndef f():\n    """\n    ```\n    """\n```',
        'def f():\n    """\n    ```\n    """',
    ),
    "a file's name and a version": ("```python:main.py\nx = 1\n```\n```python3.11\nx = 2\n```", "x = 2"),
    "a fence without a name": ("```\nx = 1\n```", "x = 1"),
    "no fence": ("x = 1\ny = 2", "x = 1\ny = 2"),
    "in the answer span": (
        "```python\nx = 1\n```<answer>\n```py\nx = 2\n```\n</answer>\n```python\nx = 3\n```",
        "x = 2",
    ),
    "a fence cut off": ("```python\nx = 1\ny = ", "x = 1\ny = "),
    "an indented fence": ("  ```python\nx = 1\n  ```", "x = 1"),
    "tildes around backticks": ("~~~python\nx = '```'\n```\n~~~", "x = '```'\n```"),
    "a longer fence": ("````python\n```\nx = 1\n````", "```\nx = 1"),
    "attributes": ("```python title=a.py\nx = 1\n```", "x = 1"),
    "after the thinking": ("<think>```python\nx = 1\n```</think>```python\nx = 2\n```", "x = 2"),
}


DEFINES, USES, READS = "def f(x):\n    return x", "print(f(1))", "print(f(int(input())))"
WHOLE = f"{DEFINES}\n{READS}"
BLOCKS: dict[str, tuple[tuple[str, ...], bool, str]] = {
    "tests call it": ((DEFINES, USES), True, DEFINES),
    "a whole program, and its use": ((WHOLE, USES), False, WHOLE),
    "the rest of the program": ((DEFINES, READS), False, f"{DEFINES}\n\n{READS}"),
    "a helper before what is asked for": (
        (DEFINES, "def g(x):\n    return f(x)"),
        True,
        f"{DEFINES}\n\ndef g(x):\n    return f(x)",
    ),
    "a session": ((DEFINES, ">>> f(1)\n1"), True, DEFINES),
    "a second try": ((DEFINES, "def f(x):\n    return 2 * x\nf(1)"), True, "def f(x):\n    return 2 * x\nf(1)"),
    "a program of its own": ((WHOLE, "print(7)"), False, "print(7)"),
    "two uses": ((DEFINES, USES, "print(f(2))"), True, DEFINES),
}


@pytest.mark.parametrize(("blocks", "called", "source"), BLOCKS.values(), ids=BLOCKS.keys())
def test_a_block_that_uses_another_is_its_rest_or_an_example(
    blocks: tuple[str, ...], called: bool, source: str
) -> None:
    text = "\n\n".join(f"So:\n\n```python\n{block}\n```" for block in blocks)
    assert extraction.find(text, row("", "code"), contract(), called=called).text == source


@pytest.mark.parametrize(("completion", "source"), FOUND.values(), ids=FOUND.keys())
def test_the_program_is_found(completion: str, source: str) -> None:
    assert find(completion) == (source, "python")


def test_only_the_final_part_counts() -> None:
    assert "not closed" in find("<think>```python\nx = 1\n```")[0]
    assert "not closed" in find("```python\nx = 1\n```", prefill="<think>\n")[0]
    assert "it is empty" in find("<think>```python\nx = 1\n```</think>")[0]


def test_the_row_names_the_language_before_the_fence_does() -> None:
    assert find("```c++\nint x;\n```") == ("int x;", "cpp")
    assert find("```\nint x;\n```", "cpp") == ("int x;", "cpp")
    assert find("```python\nx = 1\n```", "cpp") == ("the program is Python, C++ was asked for", "")
    assert "no fenced block" in find("```java\nint x;\n```")[0]
    with pytest.raises(ValueError, match="unknown code language `cobol`"):
        find("x", "cobol")


NOISE = ("`" * 10**6, "```\n" * 250_000, "~~~a\n" * 200_000, "```python\n" * 100_000, "\n" * 10**6)


@pytest.mark.parametrize("noise", NOISE, ids=range(len(NOISE)))
def test_a_megabyte_of_fences_takes_no_time(noise: str) -> None:
    start = time.process_time()
    find(noise)
    assert time.process_time() - start < 3


@given(st.text(alphabet="`~ \npyt<think>/answer", max_size=200))
def test_any_text_has_a_program_or_a_reason(text: str) -> None:
    source = extraction.find(text, row("", "code"), contract())
    assert bool(source.fault) != bool(source.text.strip())
