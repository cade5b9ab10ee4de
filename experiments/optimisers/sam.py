"""Sharpness-aware minimisation: descent by the gradient at the worst point nearby."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.optimisers.base import OPTIMISERS, at_least, check_momentum
from experiments.optimisers.batch_again import BatchAgain
from experiments.selections import Parameters

ALL = "all"


class SAM(torch.optim.SGD):
    """See :func:`sam`.

    Args:
        parameters: what is trained.
        lr, momentum, nesterov: of the descent.
        rho, perturb, adaptive, eta: of the perturbation.
    """

    def __init__(
        self,
        parameters: Any,
        lr: float,
        momentum: float,
        nesterov: bool,
        rho: float,
        perturb: str | list[str],
        adaptive: bool,
        eta: float,
    ) -> None:
        super().__init__(parameters, lr=lr, momentum=momentum, nesterov=nesterov)
        self.rho, self.perturb, self.adaptive, self.eta = rho, perturb, adaptive, eta
        self._perturbed: dict[int, bool] = {}
        """Of what is perturbed whether its numbers are by their own size, by the parameter's id."""

    def choose(self, parameters: Parameters) -> None:
        """See :class:`experiments.optimisers.base.ChoosesParameters`."""
        everything = self.perturb == ALL
        chosen = parameters.named if everything else parameters.matching("optim.perturb", self.perturb)
        for name, parameter in parameters.network.named_parameters():
            if name in chosen and parameter.requires_grad:
                by_size = self.adaptive and parameters.named[name].kind in ("weights", "gamma")
                self._perturbed[id(parameter)] = by_size
        if not self._perturbed:
            raise WrongInput(f"optim.perturb={self.perturb}: chooses only what is not trained")

    def perturbation(self, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """e = rho T^2 g / ||T g|| for parameters that are perturbed, T = |w| + eta or 1; 0 where g is 0.

        Args:
            parameters, gradients: w and g, of the data loss, at theta_t.
        """
        scales = [p.abs() + self.eta if self._perturbed[id(p)] else torch.ones_like(p) for p in parameters]
        scaled = [scale * g for scale, g in zip(scales, gradients, strict=True)]
        norm = torch.stack([values.double().square().sum() for values in scaled]).sum().sqrt()
        factor = torch.where(norm == 0, norm, self.rho / norm)
        return [(scale * values * factor).to(values.dtype) for scale, values in zip(scales, scaled, strict=True)]

    @torch.no_grad()
    def step_with(self, again: BatchAgain) -> None:
        """See :class:`experiments.optimisers.base.Revisits`."""
        trained = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        own = [p.grad for p in trained]
        penalty = again.penalty_gradients(trained)
        data = own if penalty is None else [g - extra for g, extra in zip(own, penalty, strict=True)]
        places = [place for place, parameter in enumerate(trained) if id(parameter) in self._perturbed]
        moved = [trained[place] for place in places]
        start = [parameter.clone() for parameter in moved]
        for parameter, e in zip(moved, self.perturbation(moved, [data[place] for place in places]), strict=True):
            parameter.add_(e)
        there = again.data_gradients(trained)
        for parameter, values in zip(moved, start, strict=True):  # exactly back, which subtracting would not be
            parameter.copy_(values)
        try:
            for place, parameter in enumerate(trained):
                parameter.grad = there[place] if penalty is None else there[place] + penalty[place]
            self.step()
        finally:
            for parameter, gradient in zip(trained, own, strict=True):
                parameter.grad = gradient


@OPTIMISERS.register("sam")
def sam(
    network: nn.Module,
    lr: float,
    *,
    rho: float = 0.05,
    perturb: str | list[str] = ALL,
    adaptive: bool = False,
    eta: float = 0.01,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Sharpness-aware minimisation (Foret et al. 2021, arXiv:2010.01412, equations 1 to 3).

    theta_{t+1} = theta_t - lr (grad L(theta_t + e) + grad penalty(theta_t)) with e = rho grad L(theta_t) /
    ||grad L(theta_t)||, L the data loss of the step's batch, whose two passes draw the same noise and dropout; the
    first alone moves running statistics. A step costs two. The recorded loss and every probe are of theta_t.

    Args:
        network: whose parameters are trained.
        lr: learning rate.
        rho: ||e||, over all that is perturbed; at least 0.
        perturb: "all", or a pattern or a list of patterns as of ``optim.groups``: the others have e = 0 (only gamma and
            beta: Mueller et al. 2023, arXiv:2306.04226).
        adaptive: e = rho T^2 grad L / ||T grad L||, elementwise with T = |w| + eta for weights and gamma and T = 1 for
            biases and beta (Kwon et al. 2021, arXiv:2102.11600, equation 8).
        eta: see ``adaptive``.
        momentum, nesterov: of the descent.
    """
    at_least("rho", rho, 0)
    at_least("eta", eta, 0)
    check_momentum(momentum, nesterov)
    return SAM(network.parameters(), lr, momentum, nesterov, rho, perturb, adaptive, eta)
