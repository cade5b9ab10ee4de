"""Group normalisation (Wu & He 2018, arXiv:1803.08494): torch's own layer."""

from __future__ import annotations

from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.norms.base import NORMS, device_and_dtype, in_range, is_convolution, refuse_single_values, units


class GroupNorm(nn.GroupNorm):
    """torch's, with the suite's error for an input of one value per group."""

    def forward(self, input: Tensor) -> Tensor:
        refuse_single_values("group", input, input[0].numel() // self.num_groups, of="group")
        return super().forward(input)


@NORMS.register("group")
def group(layer: nn.Module, *, groups: int = 8, eps: float = 1e-5) -> nn.Module:
    """y = gamma (x - mean) / sqrt(var + eps) + beta, mean and biased variance per sample and group of units (and H, W).

    gamma and beta are one per unit. Behaves the same in evaluation mode.

    Args:
        layer: ``nn.Linear`` or ``nn.Conv2d``.
        groups: number of groups; must divide the number of units, and on a Linear leave two units in each. The
            paper's default is 32; here 8, because narrow networks have layers of 32 channels or fewer.
        eps: added to the variance.
    """
    in_range("eps", eps, 0)
    count = units(layer)
    smallest = 1 if is_convolution(layer) else 2
    allowed = [n for n in range(1, count // smallest + 1) if count % n == 0]
    if groups not in allowed:
        kind = "Conv2d" if is_convolution(layer) else "Linear"
        raise WrongInput(
            f"norm.groups={groups}: does not divide the {count} units of a {kind} into groups of "
            f"{smallest} or more; allowed: {', '.join(map(str, allowed)) or 'nothing'}"
        )
    return GroupNorm(groups, count, eps=eps, **device_and_dtype(layer))
