"""`make bench`: our hot paths against the plain ones, paired in one process on the machine at hand.

A random-weight Qwen2 of the embedded model's size enters, with R1-Zero's template before every problem; two ratios
leave: sampling against `model.generate`, and training log-probabilities with the shared prefix against without. The two
of a pair run in turn, each first every other time, so that both meet the same machine; the median ratio is the figure.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from dataclasses import asdict
from typing import Any

import torch

from stages.core.contract import R1_ZERO_TEMPLATE, Contract
from stages.core.sampling import Sampling
from stages.policy.models import prefix
from stages.policy.models.prefix import selected_logprobs, shared_prefix_length
from tests.bench import engines, rewards
from tests.bench.pairs import Pair, paired
from tests.policy.drawing import generate

VOCABULARY, WIDTH, LAYERS = 512, 128, 4
SHARED, OWN, LONGEST = 80, 12, 160  # tokens: of the template, of a problem, of a completion at most
# A random model says every token about as often, so 12 of 512 end tokens give a geometric length of about 42 tokens.
ENDS = list(range(2, 14))


def model_and_prompts(prompts: int, copies: int) -> tuple[Any, list[list[int]]]:
    """A random Qwen2 and `prompts` x `copies` rows of token ids that share their first SHARED tokens."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=ENDS,
        pad_token_id=0,
    )
    common = torch.randint(14, VOCABULARY, (SHARED,)).tolist()
    own = torch.randint(14, VOCABULARY, (prompts, OWN)).tolist()
    return Qwen2ForCausalLM(config).eval(), [common + problem for problem in own for _ in range(copies)]


def contract() -> Contract:
    """The random model's contract."""
    return Contract(
        template=R1_ZERO_TEMPLATE,
        template_name="r1_zero",
        prefill="",
        think_tags=("<think>", "</think>"),
        answer_tags=("<answer>", "</answer>"),
        eos_ids=ENDS,
        pad_id=0,
        tokenizer_sha256="",
        max_positions=512,
    )


def described(pair: Pair) -> str:
    """A pair as a line: seconds and tokens a second of both, and the median and range of their ratios."""
    ours, plain, ratios = statistics.median(pair.ours), statistics.median(pair.plain), sorted(pair.ratios)
    speed = f"{pair.what:28} ours {ours:.3f} s ({pair.tokens / ours:,.0f} tokens/s)  plain {plain:.3f} s"
    return f"{speed}  ratio {statistics.median(ratios):.3f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def sampling_pair(repeats: int, rows: int) -> Pair:
    """Our `generate` against transformers', the same prompts, temperature 1, end tokens and longest length."""
    model, prompts = model_and_prompts(rows // 16, 16)
    own = contract()
    ids = torch.tensor(prompts)

    def ours() -> int:
        drawn = generate(model, prompts, Sampling(max_tokens=LONGEST), contract=own, seed=0)
        return sum(len(completion.ids) for completion in drawn)

    def plain() -> int:
        torch.manual_seed(0)
        options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "max_new_tokens": LONGEST}
        with torch.inference_mode():
            drawn = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
        return int((drawn[:, ids.shape[1] :] != 0).sum())

    return paired(f"sampling, {rows} rows", repeats, ours, plain)


def logprobs_pair(repeats: int, rows: int) -> Pair:
    """Log-probabilities with gradient, forward and backward: the common prefix computed once against once per row."""
    model, prompts = model_and_prompts(rows // 8, 8)
    model.train()
    prompt_ids = torch.tensor(prompts)
    completions = torch.randint(14, VOCABULARY, (rows, LONGEST // 4))
    everywhere = torch.ones_like(prompt_ids, dtype=torch.bool), torch.ones_like(completions, dtype=torch.bool)
    shared = shared_prefix_length(prompts)

    def step(prefix: int) -> int:
        model.zero_grad()
        values, _ = selected_logprobs(
            model, prompt_ids, everywhere[0], completions, everywhere[1], temperature=1.0, shared_prefix=prefix
        )
        values.sum().backward()
        return completions.numel()

    return paired(f"log-probabilities, {rows} rows", repeats, lambda: step(shared), lambda: step(0))


def tree_pair(repeats: int, rows: int) -> Pair:
    """The same with each prompt and completion read once and without padding, against padded rows behind the prefix,
    32 at a time as they were; completions of unlike lengths. The clock is the processor's."""
    model, prompts = model_and_prompts(rows // 4, 4)
    model.train()
    chance = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, LONGEST // 2, (rows,), generator=chance).sort().values
    prompt_ids, completions = torch.tensor(prompts), torch.randint(14, VOCABULARY, (rows, int(lengths[-1])))
    real = torch.arange(completions.shape[1]) < lengths[:, None]
    everywhere, shared = torch.ones_like(prompt_ids, dtype=torch.bool), shared_prefix_length(prompts)
    laid_out = prefix._tree

    def step(way: Any, at_once: int) -> int:
        vars(prefix)["_tree"] = way
        model.zero_grad()
        for start in range(0, rows, at_once):
            part = slice(start, start + at_once)
            sides = (prompt_ids[part], everywhere[part], completions[part], real[part])
            values, _ = selected_logprobs(model, *sides, temperature=1.0, shared_prefix=shared, with_entropy=True)
            values.sum().backward()
        vars(prefix)["_tree"] = laid_out
        return int(lengths.sum())

    what = f"log-probabilities as a tree, {rows} rows"
    padded = functools.partial(step, lambda *_, **__: None, 32)
    return paired(what, repeats, functools.partial(step, laid_out, rows), padded, clock=time.process_time)


def main() -> None:
    """Run both pairs and print a line for each, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found = [sampling_pair(asked.repeats, 256), logprobs_pair(asked.repeats, 64), tree_pair(asked.repeats, 128)]
    found += [*engines.pairs(asked.repeats, 512)]
    if asked.json:
        pairs = [{**asdict(pair), "ratio": statistics.median(pair.ratios)} for pair in found]
        print(json.dumps({"torch": torch.__version__, "threads": asked.threads, "pairs": pairs}, indent=2))
        return
    print(f"torch {torch.__version__}, {asked.threads} threads, {asked.repeats} pairs each; ratio = plain / ours")
    for pair in found:
        print(described(pair))
    for line in rewards.report(min(3, asked.repeats)):
        print(line)


if __name__ == "__main__":
    main()
