"""The KL estimators against exact sums: values, spreads and gradients, on a softmax of five and on two Gaussians."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as law
from hypothesis import strategies as st
from torch import Tensor

from stages.core.sampling import Completion, Finish
from stages.policy import divergence
from stages.policy.rl.losses import KL_ESTIMATORS


def pair(seed: int, places: int = 3, vocabulary: int = 5, apart: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probabilities of a policy and of a reference `apart` from it."""
    generator = torch.Generator().manual_seed(seed)
    logits, shift = (torch.randn((places, vocabulary), generator=generator, dtype=torch.float64) for _ in range(2))
    return logits.log_softmax(-1), (logits + apart * shift).log_softmax(-1)


def relative_error(name: str, policy: Tensor, reference: Tensor) -> float:
    found = divergence.gradient_errors(policy, reference)
    return (found[f"{name}_error"].sum() / found["grad_true"].sum()).sqrt().item()


# ---- values ----


def test_schulman_s_table_is_reproduced() -> None:
    near, far = divergence.gaussian_table(0.1), divergence.gaussian_table(1.0)
    assert near["kl"] == pytest.approx(0.005) and far["kl"] == pytest.approx(0.5)
    # Published: bias over the true KL 0, 0.002, 0 and 0, 0.25, 0; deviation over it 20, 1.42, 1.42 and 2, 1.73, 1.7.
    assert [near[f"k{n}_bias"] for n in (1, 2, 3)] == pytest.approx([0, 0.0025, 0], abs=1e-5)
    assert [near[f"k{n}_std"] for n in (1, 2, 3)] == pytest.approx([20, 1.42, 1.42], abs=5e-3)
    assert [far[f"k{n}_bias"] for n in (1, 2, 3)] == pytest.approx([0, 0.25, 0], abs=1e-5)
    assert [far[f"k{n}_std"] for n in (1, 2, 3)] == pytest.approx([2, 1.73, 1.70], abs=7e-3)


@pytest.mark.parametrize("shift", [0.1, 0.5, 1.0])
def test_gaussians_have_the_figures_of_their_formulas(shift: float) -> None:
    # log r is normal with mean -m²/2 and variance m², so r is lognormal with mean 1.
    m2, kl = shift**2, shift**2 / 2
    found = divergence.gaussian_table(shift)
    spread = math.exp(m2) - 1
    assert found["k1_std"] * kl == pytest.approx(math.sqrt(m2), rel=1e-5)
    assert found["k2_std"] * kl == pytest.approx(math.sqrt(m2**2 / 2 + m2 * kl**2), rel=1e-5)
    assert found["k3_std"] * kl == pytest.approx(math.sqrt(spread - m2), rel=1e-5)
    assert found["best_lambda"] == pytest.approx(m2 / spread, rel=1e-5)
    assert found["best_std"] * kl == pytest.approx(math.sqrt(m2 - m2 * m2 / spread), rel=1e-4)


@given(seed=st.integers(0, 10_000))
@law(max_examples=40, deadline=None)
def test_k1_and_k3_have_no_bias_and_the_control_variate_has_mean_0(seed: int) -> None:
    policy, reference = pair(seed)
    found = divergence.moments(policy, reference)
    for name in ("k1", "k3"):
        torch.testing.assert_close(found[f"{name}_mean"], found["kl"], rtol=0, atol=1e-12)
    assert (policy.exp() * ((reference - policy).exp() - 1)).sum(-1).abs().max() < 1e-12
    # Var(k3) = Var(k1) + 2 Cov(k1, r - 1) + Var(r - 1)
    sum_of_parts = found["k1_variance"] + 2 * found["k1_control"] + found["control_variance"]
    torch.testing.assert_close(found["k3_variance"], sum_of_parts, rtol=1e-9, atol=1e-9)


def test_the_moments_of_two_outcomes_by_hand() -> None:
    # q = (1/2, 1/2), p = (1/4, 3/4): k1 is ln 2 and -ln 1.5, r - 1 is -1/2 and 1/2.
    policy, reference = torch.tensor([[0.5, 0.5]]).double().log(), torch.tensor([[0.25, 0.75]]).double().log()
    found = {name: value.item() for name, value in divergence.moments(policy, reference).items()}
    half = (math.log(2) + math.log(1.5)) / 2
    assert found["kl"] == pytest.approx((math.log(2) - math.log(1.5)) / 2)
    assert found["k1_variance"] == pytest.approx(half**2)
    assert found["k2_mean"] == pytest.approx((math.log(2) ** 2 + math.log(1.5) ** 2) / 4)
    assert found["control_variance"] == pytest.approx(0.25)
    assert found["k1_control"] == pytest.approx(-half / 2)


def test_what_a_drawn_token_says_by_hand() -> None:
    policy, reference = torch.tensor([[0.5, 0.5]]).double().log(), torch.tensor([[0.25, 0.75]]).double().log()
    kl = torch.tensor([0.1], dtype=torch.float64)
    found = {name: value.item() for name, value in divergence.drawn(policy, reference, torch.tensor([1]), kl).items()}
    k1 = -math.log(1.5)
    assert (found["k1"], found["k1_negative"], found["k3_negative"]) == (pytest.approx(k1), 1.0, 0.0)
    assert found["k3"] == pytest.approx(0.5 - math.log(1.5))
    assert found["k1_square"] == pytest.approx((k1 - 0.1) ** 2)
    assert (found["control"], found["control_square"]) == (pytest.approx(0.5), pytest.approx(0.25))
    assert found["control_k1"] == pytest.approx(0.5 * (k1 - 0.1))


# ---- gradients ----


@given(seed=st.integers(0, 10_000))
@law(max_examples=30, deadline=None)
def test_k2_in_the_loss_corrected_k3_and_k1_in_the_reward_give_the_gradient_of_the_kl(seed: int) -> None:
    for name in ("k2_loss", "k3_corrected", "k1_reward"):
        assert relative_error(name, *pair(seed)) < 1e-9, name


@given(seed=st.integers(0, 10_000))
@law(max_examples=30, deadline=None)
def test_k1_in_the_loss_has_no_gradient_on_average_and_k3_there_that_of_the_forward_kl(seed: int) -> None:
    policy, reference = pair(seed)
    nothing = divergence.expected_gradient(divergence.score_weights("k1_loss", policy, reference), policy)
    assert nothing.abs().max() < 1e-12
    assert relative_error("k1_loss", policy, reference) == pytest.approx(1)
    k3 = divergence.expected_gradient(divergence.score_weights("k3_loss", policy, reference), policy)
    torch.testing.assert_close(k3, policy.exp() - reference.exp(), rtol=0, atol=1e-12)  # of KL(p ‖ q) by q's logits
    assert relative_error("k3_loss", policy, reference) > 1e-3


@given(seed=st.integers(0, 10_000))
@law(max_examples=30, deadline=None)
def test_in_the_reward_k3_is_right_but_for_the_forward_kl_which_it_takes_away(seed: int) -> None:
    policy, reference = pair(seed)
    found = divergence.expected_gradient(divergence.score_weights("k3_reward", policy, reference), policy)
    # E[(r - 1) ∇ log π] = -∇ KL(p ‖ q)
    wanted = divergence.kl_gradient(policy, reference) - (policy.exp() - reference.exp())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_near_the_reference_every_gradient_but_that_of_k1_in_the_loss_is_nearly_right() -> None:
    policy, reference = pair(1, apart=1e-3)
    assert relative_error("k3_loss", policy, reference) < 1e-2
    assert relative_error("k1_loss", policy, reference) == pytest.approx(1)


def test_k2_in_the_loss_and_corrected_k3_weigh_each_draw_alike() -> None:
    policy, reference = pair(5)
    weights = [divergence.score_weights(name, policy, reference) for name in ("k2_loss", "k3_corrected", "k1_reward")]
    for other in weights[1:]:
        torch.testing.assert_close(weights[0], other, rtol=0, atol=1e-12)


def test_the_exact_gradient_is_that_of_finite_differences() -> None:
    policy, reference = pair(2, places=1)
    gradient = divergence.kl_gradient(policy, reference)[0]
    for at in range(5):
        moved = []
        for step in (1e-6, -1e-6):
            shifted = policy.clone()
            shifted[0, at] += step
            shifted = shifted.log_softmax(-1)
            moved.append((shifted.exp() * (shifted - reference)).sum().item())
        assert gradient[at].item() == pytest.approx((moved[0] - moved[1]) / 2e-6, abs=1e-8)


def test_the_noise_of_a_draw_is_its_mean_squared_distance_by_hand() -> None:
    policy, reference = pair(3, places=1)
    weights = divergence.score_weights("k2_loss", policy, reference)[0]
    mean = divergence.expected_gradient(weights[None], policy)[0]
    chances = policy[0].exp()
    one_hot = torch.eye(5, dtype=torch.float64)
    draws = [weights[x] * (one_hot[x] - chances) for x in range(5)]
    by_hand = sum(chances[x] * (draws[x] - mean).square().sum() for x in range(5))
    found = divergence.gradient_errors(policy, reference)["k2_loss_noise"].item()
    assert found == pytest.approx(float(by_hand), rel=1e-9)


# ---- two models ----


class Echo(torch.nn.Module):
    """A model whose logits after a token are a row of a table."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(table)
        self.device = torch.device("cpu")

    def get_output_embeddings(self) -> torch.nn.Embedding:
        return self.table


def test_sums_over_a_completion_are_those_of_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    policy, reference = (Echo(torch.randn((6, 6), generator=generator)) for _ in range(2))

    def table_logits(
        model: Echo, prompt_ids: Tensor, prompt_mask: Tensor, ids: Tensor, mask: Tensor, **_: int
    ) -> Tensor:
        before = torch.cat([prompt_ids[:, -1:], ids[:, :-1]], dim=1)
        return model.table(before)[mask]

    monkeypatch.setattr(divergence, "selected_logits", table_logits)
    prompts = [[1, 2], [3]]
    said = [Completion(ids=ids, finish=Finish.END) for ids in ([4, 5, 0], [2])]
    found = divergence.completion_sums((policy, reference), prompts, said, 0, 2.0)
    for row, places in enumerate((((2, 4), (4, 5), (5, 0)), ((3, 2),))):
        k1 = kl = 0.0
        for before, token in places:
            q, p = ((model.table.weight[before].double() / 2.0).log_softmax(-1) for model in (policy, reference))
            k1 += KL_ESTIMATORS["k1"](q[token], p[token]).item()
            kl += (q.exp() * (q - p)).sum().item()
        assert found[row]["k1"] == pytest.approx(k1) and found[row]["kl"] == pytest.approx(kl)


def test_a_longer_vocabulary_of_padding_is_left_out() -> None:
    policy, reference = pair(4)
    wide = torch.cat([reference, torch.full((3, 2), 9.0, dtype=torch.float64)], dim=1)
    tokens = torch.tensor([0, 1, 2])
    plain, cut = (divergence.places(policy, given, tokens, 1.0) for given in (reference, wide))
    assert all(torch.equal(plain[name], cut[name]) for name in plain)


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, reference = pair(4, places=7)
    tokens = torch.arange(7) % 5
    whole = divergence.places(policy, reference, tokens, 1.0)
    monkeypatch.setattr(divergence, "EXACT_AT_ONCE", 10)
    for name, values in divergence.places(policy, reference, tokens, 1.0).items():
        torch.testing.assert_close(values, whole[name], rtol=1e-12, atol=1e-15)
