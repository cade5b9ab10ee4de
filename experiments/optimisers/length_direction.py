"""Length and direction of one neuron descended apart: gradient descent in the normalised parametrisation."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.optimisers.base import OPTIMISERS
from experiments.optimisers.batch_again import BatchAgain
from experiments.selections import Parameters
from probes.network import normalises_by_batch

_NEEDS = "optim=length_direction: needs one trained neuron with batch normalisation and nothing else"


class LengthDirection(torch.optim.Optimizer):
    """See :func:`length_direction`."""

    def choose(self, parameters: Parameters) -> None:
        """See :class:`experiments.optimisers.base.ChoosesParameters`: finds w, g and what is added, by their kinds."""
        trained = {n: p for n, p in parameters.network.named_parameters() if p.requires_grad}
        kinds = {kind: [p for n, p in trained.items() if parameters.named[n].kind == kind] for kind in _KINDS}
        counts = {kind: len(found) for kind, found in kinds.items()}
        one = counts["weights"] == counts["gamma"] == 1 and counts["beta"] <= 1 and not counts["biases"]
        norms = [m for m in parameters.network.modules() if normalises_by_batch(m)]
        leaves = {type(m).__name__ for m in parameters.network.modules() if not any(True for _ in m.children())}
        others = leaves - {"Flatten", "Identity", "Linear", *(type(m).__name__ for m in norms)}
        if not one or len(kinds["weights"][0]) != 1 or len(norms) != 1 or others:
            told = ", ".join([*trained, *sorted(others)])
            raise WrongInput(f"{_NEEDS} (model=linear_neuron norm=batch, of one output), not {told}")
        (self.direction,), (self.length,), self.shift = kinds["weights"], kinds["gamma"], kinds["beta"]

    def check(self, criterion: str, steps: int) -> None:
        """See :class:`experiments.optimisers.base.ChecksRun`: what is best for a length is known of a quadratic."""
        if criterion not in _QUADRATIC:
            raise WrongInput(
                f"optim.criterion={criterion}: optim=length_direction needs a squared error; allowed: "
                f"{', '.join(_QUADRATIC)}"
            )

    def step(self, closure: object = None) -> NoReturn:
        """Cannot be: what is best for the length is seen on the batch only."""
        raise RuntimeError("length_direction takes its steps with the batch at hand, by step_with")

    @torch.no_grad()
    def step_with(self, again: BatchAgain) -> None:
        """See :class:`experiments.optimisers.base.Revisits`."""
        w, g, lengths = self.direction, self.length, [self.length, *self.shift]
        (lr,) = {group["lr"] for group in self.param_groups for p in group["params"] if p is w}
        assert w.grad is not None
        start = _gradients(again, lengths)
        curvatures = []
        for place, parameter in enumerate(lengths):  # the loss is quadratic in each: two slopes are its curvature
            kept = parameter.clone()
            parameter.add_(1.0)
            curvatures.append(_gradients(again, [parameter])[0] - start[place])
            parameter.copy_(kept)
        curvature = curvatures[0]
        covariance = torch.cov(again.batch.inputs.flatten(1).T.double(), correction=0).view(w.numel(), -1)
        squared = w.flatten().double() @ covariance @ w.flatten().double()
        largest = torch.linalg.eigvalsh(covariance)[-1]
        rate = lr * squared / (largest * curvature.double() * g.double().square())
        w.sub_((rate * w.grad.double()).to(w.dtype))
        # one does not change the other's slope: what is normalised has no mean
        for parameter, slope, own in zip(lengths, _gradients(again, lengths), curvatures, strict=True):
            parameter.sub_(slope / own)


_QUADRATIC = ("squared_error", "half_squared_error")
_KINDS = ("weights", "biases", "gamma", "beta")


def _gradients(again: BatchAgain, parameters: list[nn.Parameter]) -> list[Tensor]:
    """Of the whole loss, at what the parameters are."""
    penalty, data = again.penalty_gradients(parameters), again.data_gradients(parameters)
    return data if penalty is None else [one + other for one, other in zip(data, penalty, strict=True)]


@OPTIMISERS.register("length_direction")
def length_direction(network: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Gradient descent in the normalised parametrisation (Kohler et al. 2019, arXiv:1805.10694, Algorithm 1).

    For one linear neuron with batch normalisation and a squared error: y = g <w, x - mean> / ||w||_S + beta, S the
    covariance of the batch's inputs and ||w||_S^2 = w^T S w. A step moves the direction,

        w <- w - lr s grad_w L(w, g),    s = ||w||_S^2 / (lambda_max(S) g^2 d^2L/dg^2),

    and then sets g (and beta) to what is best for that w, which for a quadratic is had exactly where the paper bisects.
    s with lr = 1 is the paper's step for least squares, ||w||_S^2 / (2 L |rho(w)|) with L = lambda_max(S) and rho the
    Rayleigh quotient, since at the best length rho = -g^2 and the second derivative is 2. A step costs five passes.

    Args:
        network: one neuron with batch normalisation.
        lr: factor on the paper's step.
    """
    return LengthDirection(network.parameters(), {"lr": lr})
