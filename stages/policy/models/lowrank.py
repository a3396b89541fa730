"""A linear layer with a low-rank one beside it, as one operation: x W^T + s x A^T B^T (LoRA, arXiv 2106.09685, eq. 3).

What enters a layer goes in, what leaves it comes out, with gradients for x, A and B alone. peft composes it of six
operations and makes three tensors of the layer's width beside its output; on a CPU that costs more than the frozen
weight's gradient would have. Here nothing as wide as the layer is made but the output, and in the backward pass the
gradient of x.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn import functional


class LowRankLinear(Linear):
    """peft's layer over a frozen `nn.Linear`; where more than the two matrices is asked for, peft's own way is gone."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output [..., out] of x [..., in]."""
        if self.disable_adapters and not self.merged:
            return self.base_layer(x, *args, **kwargs)  # type: ignore[no-any-return]
        name = self.active_adapter[0] if isinstance(self.active_adapter, list) else self.active_adapter
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        if args or kwargs or self.merged or not self._plain(x, a, self.lora_dropout[name]):
            return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]
        base = self.base_layer
        found: Tensor = _LowRank.apply(x, base.weight, base.bias, a, b * self.scaling[name])
        return found

    def _plain(self, x: Tensor, a: Tensor, dropout: Any) -> bool:
        """Whether nothing is dropped, cast or trained in the layer beneath."""
        base = self.base_layer
        still = isinstance(dropout, nn.Identity) or not dropout.training
        frozen = type(base) is nn.Linear and not (base.weight.requires_grad or self.lora_variant)
        return (
            still
            and frozen
            and x.dtype == a.dtype == base.weight.dtype
            and not torch.is_autocast_enabled(x.device.type)
        )


class _LowRank(torch.autograd.Function):
    """Saved for the backward pass: x, which a frozen layer alone would not keep, and x A^T."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
        out, inner = functional.linear(x, weight, bias), functional.linear(x, a)
        out.view(-1, out.shape[-1]).addmm_(inner.view(-1, inner.shape[-1]), b.t())
        ctx.save_for_backward(x, inner, weight, a, b)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor]:
        x, inner, weight, a, b = ctx.saved_tensors
        grad_NO, x_NI, inner_NR = (each.reshape(-1, each.shape[-1]) for each in (grad, x, inner))
        grad_NR = grad_NO @ b
        grad_x = (grad_NO @ weight).addmm_(grad_NR, a).view(x.shape) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, grad_NR.t() @ x_NI, grad_NO.t() @ inner_NR
