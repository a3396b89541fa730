"""Two processes train as one does: gradients are sums over both, for every loss and however a step is cut, whether each
holds the whole weights or a part of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.policy import tiny
from tests.policy.ranks import twins

Kept = dict[str, twins.Found]
RELATIVE = 1e-5


WAYS = ("rank", "sharded")
"""Each of two processes holds the whole weights, or they hold them together."""


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Kept, Kept, Kept]]:
    folder = tmp_path_factory.mktemp("twins")
    tiny.model(folder / "model")
    assert twins.both(twins.keep_everything, folder) == [0, 0]
    alone = twins.everything(folder / "model", folder / "one")
    return {way: (alone, *(torch.load(folder / f"{way}-{rank}.pt") for rank in range(2))) for way in WAYS}


@pytest.fixture(params=WAYS)
def found(every: dict[str, tuple[Kept, Kept, Kept]], request: pytest.FixtureRequest) -> tuple[Kept, Kept, Kept]:
    """What one process, the first of two and the second of two came to."""
    return every[request.param]


def apart(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The norm of the difference, relative to the norm, over all parameters together."""
    flat = [torch.cat([one.flatten().double() for one in side]) for side in (ours, theirs)]
    return ((flat[0] - flat[1]).norm() / flat[0].norm()).item()


def test_the_gradient_of_two_processes_is_that_of_one_for_every_loss_and_accumulation(
    found: tuple[Kept, Kept, Kept],
) -> None:
    alone, first, _ = found
    assert len(alone) == 24 and first.keys() in (alone.keys(), alone.keys() - {f"{one}/1" for one in twins.JOBS})
    far = {name: apart(alone[name][0], first[name][0]) for name in first}
    assert max(far.values()) < RELATIVE, far
    assert all(sum(one.abs().sum() for one in gradients) > 0 for gradients, _ in alone.values())


def test_so_are_the_weights_after_three_steps(found: tuple[Kept, Kept, Kept]) -> None:
    alone, first, _ = found
    far = {name: apart(alone[name][1], first[name][1]) for name in first}
    assert max(far.values()) < RELATIVE, far


def test_both_processes_hold_the_same_bits(found: tuple[Kept, Kept, Kept]) -> None:
    _, first, second = found
    for name, sides in first.items():
        for ours, theirs in zip(sides, second[name], strict=True):
            assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True)), name
