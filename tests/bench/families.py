"""Every causal language model of transformers against a plain forward pass of the row alone: `python -m
tests.bench.families [TYPE …]`, a minute of one core; `--engine vllm [FAMILY …]` runs the families of docs/models.md in
vLLM instead, which takes ten.

For each type of config that can be shrunk a line leaves: whether later tokens change what is said of earlier ones, and
the largest gap in nats a token of what was sampled, and of padded rows with a shared start. Anything above 1e-5 that
`stages.policy.models.families` does not refuse is a fault of its lists.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from stages.core.contract import Contract
from stages.core.errors import R1Error
from stages.core.run.runtime import Runtime
from stages.core.sampling import Request, Sampling
from stages.policy.engines.client import in_order
from stages.policy.engines.local.engine import LocalEngine
from stages.policy.engines.opening import open_engine
from stages.policy.engines.vllm import likeness
from stages.policy.models import families
from stages.policy.models.prefix import selected_logprobs
from tests.families import building
from tests.families.renewing import renewed
from tests.families.test_exact import COMPLETIONS, PROMPTS, alone, padded
from tests.families.test_matrix import Family, written

MOST = 6_000_000
"""Weights of a model that is tried."""
SIZES: dict[int, str] = {
    1: "n_group topk_group n_shared_experts first_k_dense_replace",
    2: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_key_value_heads moe_k "
    "num_experts_per_tok linear_num_key_heads expand mamba_expand index_n_heads",
    4: "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads num_experts "
    "num_local_experts n_routed_experts moe_num_experts linear_num_value_heads time_step_rank",
    8: "head_dim attention_head_dim qk_rope_head_dim qk_nope_head_dim v_head_dim linear_key_head_dim state_size "
    "linear_value_head_dim mamba_d_state mamba_n_heads mamba_d_head mamba_num_heads mamba_head_dim "
    "rotary_dim kv_channels hidden_size_per_layer_input",
    16: "q_lora_rank kv_lora_rank qk_head_dim moe_intermediate_size shared_expert_intermediate_size index_head_dim",
    32: "hidden_size d_model n_embd dim embedding_size word_embed_proj_dim lru_width",
    48: "intermediate_size ffn_dim n_inner encoder_ffn_dim decoder_ffn_dim ffn_hidden_size",
    128: "vocab_size vocab_size_per_layer_input sliding_window attention_window_size window_size local_window "
    "index_topk",
    256: "max_position_embeddings n_positions n_ctx max_seq_len seq_length",
}
LATENTS = (
    *("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite"),
    *("glm_moe_dsa", "minicpm3", "youtu"),
)
SPECIAL: dict[str, dict[str, Any]] = {
    **{name: {"num_key_value_heads": 4} for name in LATENTS},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "mamba_dt_rank": 4},
    "bamba": {"attn_layer_indices": [1], "mamba_n_groups": 1},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_groups": 1},
    "mamba2": {"num_heads": 8, "n_groups": 1},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
}


def shrunk(kind: Any) -> Any:
    """A config of this class with small sizes, and each kind of layer it has."""
    base = kind()
    have = set(base.to_dict())
    found: dict[str, Any] = {"pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1}
    for size, names in SIZES.items():
        for name in names.split():
            if name in have and not isinstance(getattr(type(base), name, None), property):
                found[name] = size
    own = getattr(type(base), base.attribute_map.get("layer_types", "layer_types"), None)
    kinds = list(dict.fromkeys(getattr(base, "layer_types", None) or []))
    if kinds and not isinstance(own, property):
        found["num_hidden_layers"] = max(2, len(kinds))
        found["layer_types"] = (kinds * 2)[: found["num_hidden_layers"]]
    return kind(**(found | SPECIAL.get(base.model_type, {})))


def model(name: str) -> Any:
    """A random model of a type, or whatever its classes raise."""
    config = shrunk(CONFIG_MAPPING[name])
    if config.get_text_config() is not config:
        config = type(config)(text_config=shrunk(type(config.get_text_config())).to_dict())
    with torch.device("meta"):
        size = sum(one.numel() for one in AutoModelForCausalLM.from_config(copy.deepcopy(config)).parameters())
    if size > MOST:
        raise MemoryError(f"{size / 1e6:.0f} million weights at the least")
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config, attn_implementation=families.attention(config))
    with torch.no_grad():
        for label, weight in made.named_parameters():
            if weight.dim() > 1 and "A_log" not in label:
                weight.normal_(0.0, 0.1)
    return made.eval()


def looks_ahead(made: Any) -> float:
    """How much another last token changes what is said of those before it."""
    ids = torch.tensor([PROMPTS[0]])
    other = ids.clone()
    other[0, -1] = 50
    with torch.no_grad():
        one, two = (made(input_ids=given, use_cache=False).logits[:, :-1] for given in (ids, other))
    return float((one - two).abs().max())


def sampled(made: Any) -> float:
    """The largest gap of what the transformers engine draws."""
    contract = Contract(template="", template_name="", eos_ids=[1], pad_id=2, tokenizer_sha256="", max_positions=256)
    asked = [Request(prompt_ids=ids, sampling=Sampling(max_tokens=8), seed=n, key=n) for n, ids in enumerate(PROMPTS)]
    done = in_order(asked, LocalEngine(made, contract).sample(asked))
    pairs = zip(PROMPTS, done, strict=True)
    return max(float((alone(made, ids, one.ids) - torch.tensor(one.logprobs)).abs().max()) for ids, one in pairs)


def scored(made: Any) -> float:
    """The largest gap of rows that are padded and share a start."""
    with torch.no_grad():
        found, _ = selected_logprobs(made, *padded(), temperature=1.0, shared_prefix=60)
    pairs = enumerate(zip(PROMPTS, COMPLETIONS, strict=True))
    return max(float((alone(made, ids, said) - found[row, : len(said)]).abs().max()) for row, (ids, said) in pairs)


def line(name: str) -> str:
    """What became of one type."""
    try:
        made = model(name)
        fault = families.refusal(made.config)
        if fault:
            return f"{name:28} refused"
        way = "fast" if not families.why_not_fast(made.config, 70) else "slow"
        figures = (looks_ahead(made), sampled(made), scored(made))
    except Exception as error:  # noqa: BLE001 - some hundred classes of others, and a line for each
        return f"{name:28} not tried: {type(error).__name__}: {str(error).strip().splitlines()[0][:80]}"
    return f"{name:28} {way}  ahead {figures[0]:.1e}  sampled {figures[1]:.1e}  scored {figures[2]:.1e}"


def in_vllm(name: str, home: Path) -> str:
    """A family's cells in docs/models.md: sampled and trained by vLLM, and its gap to transformers in nats a token."""
    family = Family(name, home / "family", written(home))
    family.engine = "vllm"
    runtime, why = Runtime(device="cpu", engine="vllm"), ""
    found, gap = {"sample": "yes", "rl": "yes"}, float("nan")
    for stage in found:
        try:
            family.run(stage)
        except R1Error as error:
            found[stage], why = "no", f"{stage}: {error.what}"
    if found["sample"] == "yes":
        contract = Contract.read(family.model.path)
        said = likeness.drawn(family.model.path, contract, dtype="float32", runtime=runtime)
        with closing(open_engine(family.model.path, contract=contract, dtype="float32", runtime=runtime)) as engine:
            gap = likeness.refuse_unlike(engine, said, "float32")
    if found["rl"] == "yes":
        new = renewed(family.model.path)
        gap = max(gap, new.before, new.after)
        why = f"{new.tensors - len(new.unseen)} of {new.tensors} tensors left old were seen"
    return f"| {name} | {found['sample']} | {found['rl']} | {gap:.1e} | {why}"


def main() -> None:
    """Print a line for each type that is named, or for all."""
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    if sys.argv[1:3] == ["--engine", "vllm"]:
        for name in sys.argv[3:] or building.FAMILIES:
            with tempfile.TemporaryDirectory() as home:
                print(in_vllm(name, Path(home)), flush=True)
        return
    for name in sys.argv[1:] or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        print(line(name), flush=True)


if __name__ == "__main__":
    main()
