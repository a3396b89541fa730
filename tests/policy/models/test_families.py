"""From a config alone: no decoder is refused, what is not known is computed plainly, and what is slow says so."""

from __future__ import annotations

import pytest
from transformers import BertConfig, BloomConfig, Phi3Config, RwkvConfig, XLNetConfig

from stages.policy.models import families
from tests.families import building


def test_what_sees_later_tokens_is_no_decoder_unless_it_is_told_to_be_one() -> None:
    assert "no decoder" in families.refusal(BertConfig()) and families.refusal(BertConfig(is_decoder=True)) == ""
    assert "no decoder" in families.refusal(XLNetConfig()) and families.refusal(BloomConfig()) == ""


def test_a_type_that_stands_in_no_list_is_neither_padded_nor_cached_nor_shared() -> None:
    unknown = RwkvConfig()
    assert not families.pads(unknown) and not families.caches(unknown) and not families.plain_head(unknown)
    assert "not known" in families.why_not_fast(unknown, 1)


def test_no_type_stands_in_two_lists() -> None:
    lists = (families.PLAIN, families.PADDED, families.CACHED, families.UNFIT, families.DECODERS_IF_TOLD)
    assert sum(map(len, lists)) == len(frozenset().union(*lists))


@pytest.mark.parametrize(
    ("family", "use", "said"),
    [
        ("Qwen3", "sample", "fast"),
        ("Mistral (window)", "sample", "slow for rows of more than 32 tokens"),
        ("Phi-4-mini (longrope)", "sample", "no row may cross 160 tokens"),
        ("DeepSeek-V3", "sample", "slow: what a deepseek_v3 keeps"),
        ("LFM2", "judge", "no: transformers knows no scalar head for a lfm2"),
    ],
)
def test_what_a_model_can_be_used_for_is_said_from_its_config(family: str, use: str, said: str) -> None:
    assert said in families.abilities(building.FAMILIES[family][1]())[use]


def test_a_border_of_rotary_frequencies_is_found_in_the_parameters_of_a_kind_of_layer() -> None:
    config = Phi3Config(original_max_position_embeddings=4096)
    config.rope_parameters = {"full_attention": {"rope_type": "longrope", "original_max_position_embeddings": 64}}
    assert families.rope_border(config) == 64
