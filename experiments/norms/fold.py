"""Normalisations folded into the layers before them, as one does before inference."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from experiments.chosen_entries import put_together
from experiments.errors import WrongInput, one_line
from experiments.linear import LINEAR
from probes import statistics
from probes.engine.chain import in_place_of_norm
from probes.network import kind_of

LAYERS = (*LINEAR, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fold(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, with every normalisation that has running statistics folded into its layer.

    Such a normalisation is an affine map M y + s of each sample's units there (Ioffe & Szegedy 2015, section 3.1), so
    the layer before it, with W and b, becomes one with M W and M b + s; outputs change by rounding only. Statistics are
    the running ones, or those that the context gives (:func:`probes.statistics.taken_from`). Others (layer or group
    normalisation) stay as they are.

    Args:
        network: any that ``torch.fx`` can trace; left as it is.

    Returns:
        A copy, in evaluation mode, in which ``nn.Identity`` stands for what was folded.

    Raises:
        WrongInput: a normalisation that does not follow a linear layer or a convolution directly, or that is no affine
            map of each sample; a network that cannot be traced.
    """
    folded = copy.deepcopy(network).eval()
    put_together(folded)
    for norm, layer in _pairs(folded):
        _fold(folded, norm, layer)
        folded.set_submodule(norm, nn.Identity())
    return folded


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf = not any(True for _ in m.children()) or parametrize.is_parametrized(m)
        return leaf or in_place_of_norm(m, module_qualified_name) or super().is_leaf_module(m, module_qualified_name)


def _pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Each normalisation with running statistics, and the layer whose output it and nothing else takes."""
    try:
        nodes = list(_Tracer().trace(network).nodes)
    except Exception as error:
        raise WrongInput(f"fold: {type(network).__name__} cannot be traced: {one_line(error)}") from error
    calls = [node for node in nodes if node.op == "call_module"]
    times = [id(network.get_submodule(str(node.target))) for node in calls]
    pairs = []
    for node in calls:
        name = str(node.target)
        module = network.get_submodule(name)
        if kind_of(module, name) != "norm" or not any("running_" in key for key, _ in module.named_buffers()):
            continue
        if getattr(module, "running_by_domain", False) and statistics.domains(1, torch.device("cpu")) is None:
            raise WrongInput(
                f"fold: {name} has statistics of each domain (norm.running=domain), so it is no single map; fold "
                "within probes.statistics.in_domain of one domain's number"
            )
        source = node.args[0] if node.args else None
        layer = str(source.target) if isinstance(source, fx.Node) and source.op == "call_module" else None
        before = network.get_submodule(layer) if layer is not None else None
        if (
            not isinstance(source, fx.Node)
            or layer is None
            or (type(before) not in LAYERS or parametrize.is_parametrized(before))  # type: ignore[arg-type]
            or (len(source.users) > 1 or times.count(id(before)) > 1 or times.count(id(module)) > 1)
        ):
            raise WrongInput(
                f"fold: {name} does not follow a linear layer or convolution of its own, so it cannot be folded into it"
            )
        pairs.append((name, layer))
    return pairs


@torch.no_grad()
def _fold(network: nn.Module, norm: str, name: str) -> None:
    layer = network.get_submodule(name)
    weight = layer.weight
    assert isinstance(weight, Tensor)
    units, places = len(weight), [1] * (weight.ndim - 2)
    exact = copy.deepcopy(network.get_submodule(norm)).double()

    def mapped(rows: Tensor) -> Tensor:
        return exact(rows.view(-1, units, *places)).flatten(1)

    zero = torch.zeros(1, units, dtype=torch.float64, device=weight.device)
    found = mapped(torch.cat([zero, torch.eye(units).to(zero)]))
    shift, matrix = found[0], (found[1:] - found[0]).T
    diagonal = torch.equal(matrix, matrix.diagonal().diag())
    others = torch.linspace(-1.0, 1.0, 2 * units).to(zero).view(2, units)  # in another batch
    if not torch.allclose(others @ matrix.T + shift, mapped(others)):
        raise WrongInput(f"fold: {norm} is no affine map of each sample in evaluation mode, so it cannot be folded")
    if not diagonal and getattr(layer, "groups", 1) != 1:
        raise WrongInput(f"fold: {norm} mixes the channels of {name}, whose groups keep them apart")
    bias = layer.bias if isinstance(layer.bias, Tensor) else torch.zeros(units).to(weight)
    layer.weight = nn.Parameter((matrix @ weight.double().flatten(1)).view_as(weight).to(weight))
    layer.bias = nn.Parameter((matrix @ bias.double() + shift).to(weight))
