"""Whatever a file from outside holds, import ends in one sentence or in a model that loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from stages.core.contract import Contract
from stages.core.errors import AskedWrongly, ContractError, InputError, R1Error
from stages.policy.models.folders import load_model, load_tokenizer
from stages.policy.models.importing import import_model
from stages.policy.models.reading import outside
from tests.policy import styles

Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return styles.folder("llama3", tmp_path_factory.mktemp("good") / "llama3")


@pytest.fixture
def source(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "source"))


def setting(name: str, key: str, value: Any) -> Spoil:
    def change(folder: Path) -> None:
        held = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**held, key: value}))

    return change


def holding(name: str, data: bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(data)


def header(**change: Any) -> Spoil:
    """The header of the weights lies about one tensor."""

    def spoil(folder: Path) -> None:
        file = folder / "model.safetensors"
        data = file.read_bytes()
        size = int.from_bytes(data[:8], "little")
        told = json.loads(data[8 : 8 + size])
        told["model.norm.weight"] |= change
        text = json.dumps(told).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])

    return spoil


ODD: tuple[Any, ...] = (None, -1, 1.5, 10**30, "x", [[1]], {"a": 1}, True)
SETTINGS = [
    *[("config.json", "eos_token_id", one) for one in ODD],
    *[("config.json", "max_position_embeddings", one) for one in ODD],
    *[("config.json", "num_attention_heads", one) for one in (0, -1, 10**30)],
    *[("config.json", "model_type", one) for one in (7, [], "none such")],
    *[("config.json", "architectures", one) for one in (None, 3, ["Nothing"])],
    *[("config.json", "quantization_config", one) for one in (3, "x")],
    *[("config.json", "rope_parameters", one) for one in ("x", {"rope_type": "none such"})],
    *[("config.json", "text_config", one) for one in (3, {"eos_token_id": 1.5})],
    *[("generation_config.json", "eos_token_id", one) for one in ODD],
    *[("tokenizer_config.json", "eos_token", one) for one in (7, "<none such>", ["a"])],
    *[("tokenizer_config.json", "model_max_length", one) for one in ("x", -1, None)],
    *[("tokenizer_config.json", "chat_template", one) for one in (7, "{% for %}", {"a": 1})],
    *[("tokenizer_config.json", "auto_map", one) for one in (7, {"AutoTokenizer": ["code.Own", None]})],
    *[("tokenizer.json", "model", one) for one in (None, {}, {"type": "BPE"})],
    *[("tokenizer.json", "added_tokens", one) for one in (3, [{}])],
]
BYTES = (b"", b"{", b"[1]", b"null", b"NaN", b"\xff\xfe", b"[" * 100_000)
FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
LIES: tuple[dict[str, Any], ...] = (
    {"shape": [-1]}, {"shape": [31]}, {"dtype": "Q4"}, {"dtype": 3}, {"data_offsets": [0, 10**15]}
)  # fmt: skip
SPOILT: dict[str, Spoil] = {
    **{f"{name} {key}={str(one)[:20]}": setting(name, key, one) for name, key, one in SETTINGS},
    **{f"{name} holds {data[:4]!r}": holding(name, data) for name in FILES for data in BYTES},
    **{f"{name} is gone": lambda folder, name=name: (folder / name).unlink() for name in FILES},  # type: ignore[misc]
    **{f"the header says {lie}": header(**lie) for lie in LIES},
    "the weights are a folder": lambda folder: [
        (folder / "model.safetensors").unlink(),
        (folder / "model.safetensors").mkdir(),
    ],
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_folder_is_one_sentence_or_a_model_that_loads(source: Path, tmp_path: Path, name: str) -> None:
    SPOILT[name](source)
    try:
        import_model(source, tmp_path / "model")
    except R1Error as error:
        assert isinstance(error, AskedWrongly) and error.hint and "\n" not in error.what
        return
    contract, words = Contract.read(tmp_path / "model"), load_tokenizer(tmp_path / "model")
    rows = load_model(tmp_path / "model").get_input_embeddings().weight.shape[0]
    assert {*contract.eos_ids, contract.pad_id, *words.get_vocab().values()} <= set(range(rows))
    assert contract.max_positions > 0


def test_a_tokenizer_that_is_only_a_model_file_is_told_the_way_to_convert_it(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.json").unlink()
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    (source / "tokenizer.model").write_bytes(b"\x0a\x05")
    with pytest.raises(InputError, match=r"the tokenizer of .* cannot be read") as caught:
        import_model(source, tmp_path / "model")
    assert "save_pretrained" in caught.value.hint and str(source) in caught.value.hint


def test_a_tokenizer_with_code_of_its_own_is_never_run(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.json").unlink()
    (source / "code.py").write_text("raise SystemExit(3)")
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["code.Own", None]}}
    (source / "tokenizer_config.json").write_text(json.dumps(own))
    with pytest.raises(InputError, match="needs code of its own, which is never run") as caught:
        import_model(source, tmp_path / "model")
    assert "trust_remote_code" not in caught.value.hint


def test_what_a_library_raises_becomes_one_sentence_and_what_is_not_its_fault_passes() -> None:
    with pytest.raises(InputError, match=r"^no tokenizer \(.+\)$") as caught, outside("no tokenizer", "mend it"):
        Tokenizer.from_str('{"model": 3}')
    assert caught.value.hint == "mend it"
    with pytest.raises(InputError, match=r"\(one\?two: Traceback\)"), outside("broken"):
        raise RuntimeError("one\x1btwo:\n  Traceback")
    for passing in (KeyboardInterrupt(), MemoryError(), ContractError("ours"), OSError(28, "No space left on device")):
        with pytest.raises(type(passing)) as same, outside("broken"):
            raise passing
        assert same.value is passing


@pytest.mark.parametrize("given", [{}, "none", {"quant_method": "zipquant"}, {"bits": 4}])
def test_whatever_says_that_weights_are_quantised_is_refused_with_both_ways_out(tmp_path: Path, given: Any) -> None:
    source = styles.folder("plain", tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "quantization_config": given}))
    with pytest.raises(InputError, match="is quantised") as caught:
        import_model(source, tmp_path / "model")
    assert "remove quantization_config" in caught.value.hint


@pytest.mark.parametrize("name", ["bf16", "auto", "torch.bfloat16", "cuda"])
def test_a_dtype_that_torch_has_not_is_named(tmp_path: Path, name: str) -> None:
    source = styles.folder("plain", tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "dtype": name}))
    with pytest.raises(InputError, match=f"the dtype `{name}`, which torch has not"):
        import_model(source, tmp_path / "model")
