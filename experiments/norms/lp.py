"""l_p normalisation (Santurkar et al. 2018, section 3.3): remove the mean, divide by the average l_p norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.norms.base import NORMS, OutputNormalisation


class LpNormalisation(OutputNormalisation):
    """y = gamma (x - mean) / N_p + beta, per unit over the batch (and H, W).

    N_1 = mean|x| + eps, N_2 = sqrt(mean x^2 + eps), N_inf = max|x| + eps. The paper normalises "by the average of their
    l_p-norm (before shifting the mean)": of x as it is, the default. With ``centered`` it is that of x - mean, and
    ``l2`` then is batch normalisation. Running statistics are moving averages of the mean and of N_p as used.
    """

    def __init__(self, layer: nn.Module, *, centered: bool = False, eps: float = 1e-5, momentum: float = 0.1) -> None:
        """
        Args:
            layer: ``nn.Linear`` or ``nn.Conv2d``.
            centered: take the norm of x - mean instead of x.
            eps: keeps the denominator away from 0, as above.
            momentum: weight of the newest batch in the running statistics, in [0, 1].
        """
        super().__init__(layer, eps=eps, momentum=momentum)
        self.centered = centered

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean(self.dims)
        return mean, self.average_norm(x - mean.view(self.shape) if self.centered else x)

    def average_norm(self, x: Tensor) -> Tensor:
        """N_p of x, shape (units,). Not ``torch.linalg.vector_norm``: in float32 its sums are wrong by 1e-5."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, centered={self.centered}"


@NORMS.register("l1")
class L1(LpNormalisation):
    __doc__ = LpNormalisation.__doc__

    def average_norm(self, x: Tensor) -> Tensor:
        return x.abs().mean(self.dims) + self.eps


@NORMS.register("l2")
class L2(LpNormalisation):
    __doc__ = LpNormalisation.__doc__

    def average_norm(self, x: Tensor) -> Tensor:
        return torch.sqrt(x.square().mean(self.dims) + self.eps)


@NORMS.register("linf")
class Linf(LpNormalisation):
    """y = gamma (x - mean) / N_inf + beta with N_inf = max|x| + eps, see :class:`LpNormalisation`.

    N_inf grows with the number of values it is taken over (for Gaussian x about as sqrt(2 log m)), so the output of
    this layer shrinks as the batch or the image grows: compare it at one batch size only. The gradient of the maximum
    goes to the largest element, in equal shares if several are largest.
    """

    def average_norm(self, x: Tensor) -> Tensor:
        return x.abs().amax(self.dims) + self.eps
