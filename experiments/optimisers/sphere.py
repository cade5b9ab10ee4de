"""Descent on the sphere: scale-invariant weights keep their norm, so that their effective rate is what one sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.optimisers.base import OPTIMISERS
from experiments.selections import SCALE_INVARIANT, Parameters


class Sphere(torch.optim.SGD):
    """See :func:`sphere`.

    Args:
        parameters: what is trained.
        lr: learning rate.
        norm, together: of the scale-invariant weights.
    """

    def __init__(self, parameters: Any, lr: float, norm: float | None, together: bool) -> None:
        super().__init__(parameters, lr=lr)
        self.norm, self.together = norm, together
        self._spheres: list[tuple[list[nn.Parameter], Tensor]] = []
        """Weights that have one norm, taken as one vector, and that norm, in float64."""

    def choose(self, parameters: Parameters) -> None:
        """See :class:`experiments.optimisers.base.ChoosesParameters`. Weights are brought to the norm that is asked."""
        names = parameters.matching("optim=sphere: match", SCALE_INVARIANT)
        weights = [p for name, p in parameters.network.named_parameters() if name in names and p.requires_grad]
        if not weights:
            raise WrongInput("optim=sphere: all scale-invariant weights are frozen, so none would stay on a sphere")
        for members in [weights] if self.together else [[weight] for weight in weights]:
            own = norm_of(members)
            self._spheres.append((members, own if self.norm is None else torch.full_like(own, self.norm)))
        self._project()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """theta <- theta - lr g, and from there straight back to the sphere."""
        loss = super().step(closure)
        self._project()
        return loss

    @torch.no_grad()
    def _project(self) -> None:
        for members, norm in self._spheres:
            factor = norm / norm_of(members)
            for weight in members:
                weight.mul_(factor.to(weight.dtype))


def norm_of(weights: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of several tensors taken as one vector, in float64."""
    return torch.stack([weight.detach().double().square().sum() for weight in weights]).sum().sqrt()


@OPTIMISERS.register("sphere")
def sphere(network: nn.Module, lr: float, *, norm: float | None = 1.0, together: bool = True) -> torch.optim.Optimizer:
    """Projected gradient descent on a sphere (Kodryan et al. 2022, arXiv:2209.03695, section 3).

    The scale-invariant weights w, those whose size changes nothing (``scale_invariant`` of ``optim.groups``), keep
    their norm: w <- norm (w - lr g) / ||w - lr g||, so that their effective rate is lr / norm^2 at every step. All
    other parameters are moved by plain gradient descent with the same rate. A penalty only pulls along w, which the
    projection undoes: it makes the rate 1 / (1 - lr weight_decay) times as large.

    Args:
        network: whose parameters are trained.
        lr: learning rate; with norm 1 the effective one.
        norm: of w, above 0; null: what it is at the start, of which the effective rate then follows.
        together: whether it is the norm of all those weights taken as one vector, as in the paper, where each layer's
            may still change at the cost of the others'; or of each weight by itself.
    """
    if norm is not None and not 0 < norm < float("inf"):
        raise ValueError(f"norm={norm}: must be above 0, or null for that of the start")
    return Sphere(network.parameters(), lr, norm, together)
