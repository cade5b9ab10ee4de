"""Both sides of Santurkar et al.'s theorems at the batch normalisations of the live network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import Layer, View
from probes.points import Before
from probes.protocol import At, Declaration, Field, Need, group_sums
from probes.reductions import NormalisationTerms, ParameterValues, TapCurvature


@dataclass(frozen=True)
class Theory:
    """Theorem 4.1 in its corrected form, its terms, and what governs them, on the training batch before the update.

    A unit j with input y, m values per batch (samples, height and width), sigma^2 = var + eps,
    yhat = (y - mean) / sigma, z = gamma yhat + beta and g = dL/dz:

        ||dL/dy||^2 = (gamma^2 / sigma^2) ( ||g||^2 - (1/m) <1, g>^2 - c <g, yhat>^2 ),  c = (1 + eps / (var + eps)) / m

    an equality. Version 3 of the paper prints c = 1/sqrt(m), which is wrong; ``theorem_4_1_as_printed`` shows it.
    The records sum over a layer's units, the arrays give each unit.

    Args:
        layers: names; None for all layers with a batch normalisation.
        curvature: also Theorem 4.2, jointly over a layer's units (two Hessian-vector products per layer): with
            v = dL/dy, u = (dz/dy) v, q = <yhat, v>,
            v^T (d2L/dy2) v = u^T (d2L/dz2) u
            - sum_j gamma/sigma^2 ( <g, yhat> ||v||^2 / m + 2 q <g, v> / m - 3 <g, yhat> q^2 / m^2 ).
            At eps = 0, q = 0 and this is the theorem.
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: no such layer, or no batch normalisation in it; at a probed step, one whose mode (training or
            evaluation) is not what it was when the probes were built.
    """

    layers: tuple[str, ...] | None = None
    curvature: bool = False
    every: int = 1

    def _layers(self, network: View) -> list[Layer]:
        chosen = network.select(self.layers)
        if self.layers is None:
            return [layer for layer in chosen if layer.batch_norm_epsilon is not None]
        for layer in chosen:
            if layer.batch_norm_epsilon is None:
                raise ProbeError(f"theory: layer {layer.name!r} has no batch normalisation in training mode")
        return list(chosen)

    def _terms(self, layer: Layer) -> Need:
        assert layer.before_normalisation is not None
        assert layer.normalisation is not None
        assert layer.batch_norm_epsilon is not None
        reduction = NormalisationTerms(layer.before_normalisation, layer.normalisation, layer.batch_norm_epsilon)
        return Need("train", Before(), reduction)

    def _curvature(self, layer: Layer) -> Need:
        assert layer.before_normalisation is not None
        assert layer.normalisation is not None
        assert layer.batch_norm_epsilon is not None
        taps = (layer.before_normalisation, layer.normalisation)
        return Need("train", Before(), TapCurvature(*taps, layer.gamma, layer.batch_norm_epsilon))

    def _affine(self, layer: Layer) -> list[Need]:
        names = [name for name in (layer.gamma, layer.beta) if name is not None]
        return [Need("train", Before(), ParameterValues(name)) for name in names]

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`. A network without batch normalisation has no fields."""
        layers = self._layers(network)
        names = tuple(layer.name for layer in layers)
        needs = [need for layer in layers for need in (self._terms(layer), *self._affine(layer))]
        fields = {}
        if layers:
            for metric, unit, reference in _RECORDS + (_CURVATURE if self.curvature else ()):
                fields[metric] = Field(metric, unit, reference, "train", "before", dims=("layer",), layer=names)
        for layer in layers:
            if self.curvature:
                needs.append(self._curvature(layer))
            assert layer.normalisation is not None
            width = network.leaf(layer.normalisation).units
            for metric, unit in _ARRAYS:
                fields[f"{metric}.{layer.name}"] = Field(
                    metric,
                    unit,
                    "Santurkar et al. 2018, Theorem 4.1",
                    "train",
                    "before",
                    ("unit",),
                    (layer.name,),
                    None,
                    (width,),
                )
        nothing = "" if layers else "no layer has a batch normalisation that normalises by the batch"
        return Declaration(tuple(needs), fields, modes=True, nothing=nothing)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        layers = self._layers(at.network)
        if not layers:
            return {}
        unit = self._units(at, layers)
        widths = [at[self._terms(layer)].shape[1] for layer in layers]
        each = {name: values.split(widths) for name, values in unit.items()}
        left, right, printed = unit["activation_gradient_squared"], unit["right_hand_side"], unit["as_printed"]
        # a difference within float32's rounding is no violation
        violated = (left > printed + 1e-4 * left).double()
        terms = [unit[name] for name in ("scaling_term", "mean_term", "correlation_term")]
        ratios = [unit["gamma_over_sigma"], unit["shift_over_sigma"].abs()]
        columns = [left, right, (left - right).abs(), *terms, printed, violated, unit["sigma"], *ratios, unit["bend"]]
        sums = group_sums(torch.stack(columns), widths)
        total, of_right, error, scaling, of_mean, correlation, of_printed, share, sigma, gamma, shift, bend = sums
        units = torch.tensor(widths)
        row = [total, of_right, error / total, scaling, of_mean, correlation, of_printed, share / units, sigma / units]
        row += [torch.stack([values.median() for values in each["sigma"]])]
        row += [torch.stack([values.max() for values in each["sigma"]]), gamma / units, shift / units]
        if self.curvature:
            along, above = torch.stack([at[self._curvature(layer)] for layer in layers], 1)
            row += [along, above - bend, above, bend]
        metrics = _RECORDS + (_CURVATURE if self.curvature else ())
        answer = dict(zip((m for m, *_ in metrics), row, strict=True))
        for metric, _ in _ARRAYS:
            answer |= {f"{metric}.{layer.name}": found for layer, found in zip(layers, each[metric], strict=True)}
        return answer

    def _units(self, at: At, layers: list[Layer]) -> dict[str, Tensor]:
        """The terms, unit by unit, of all layers one after the other."""
        found = [at[self._terms(layer)] for layer in layers]
        norm_squared, total, correlation, left, mean, variance, m = torch.cat(found, 1)
        gammas, betas, epsilons = [], [], []
        for layer, terms in zip(layers, found, strict=True):
            one = torch.ones_like(terms[0])
            affine = {need.reduction.parameter: at[need].reshape(-1) for need in self._affine(layer)}  # type: ignore[attr-defined]
            gammas.append(affine[layer.gamma] if layer.gamma is not None else one)
            betas.append(affine[layer.beta] if layer.beta is not None else 0 * one)
            epsilons.append(one * (layer.batch_norm_epsilon or 0.0))
        gamma, beta, eps = torch.cat(gammas), torch.cat(betas), torch.cat(epsilons)
        squared = variance + eps
        scale = gamma.square() / squared
        scaling, of_mean = scale * norm_squared, scale * total.square() / m
        of_correlation = scale * correlation.square() * (1 + eps / squared) / m
        slope = gamma / squared.sqrt()
        q = slope * correlation * eps / squared
        g_dot_v = slope * (norm_squared - total.square() / m - correlation.square() / m)
        bend = gamma / squared * (correlation * left / m + 2 * q * g_dot_v / m - 3 * correlation * q.square() / m**2)
        return {
            "activation_gradient_squared": left,
            "right_hand_side": scaling - of_mean - of_correlation,
            "as_printed": scaling - of_mean - scale * correlation.square() / m.sqrt(),
            "scaling_term": scaling,
            "mean_term": of_mean,
            "correlation_term": of_correlation,
            "sigma": squared.sqrt(),
            "gamma_over_sigma": slope,
            "shift_over_sigma": (beta - mean) / squared.sqrt(),
            "bend": bend,
        }


_PAPER = "Santurkar et al. 2018, Theorem 4.1"
_RECORDS: tuple[tuple[str, str, str], ...] = (
    ("activation_gradient_squared", "loss^2/activation^2", f"{_PAPER}, left side: sum over units of ||dL/dy||^2"),
    ("theorem_4_1_right_hand_side", "loss^2/activation^2", f"{_PAPER}, corrected constant"),
    ("theorem_4_1_relative_error", "1", f"{_PAPER}, corrected: sum |left - right| / sum left"),
    ("scaling_term", "loss^2/activation^2", f"{_PAPER}: (gamma^2/sigma^2) ||g||^2"),
    ("mean_term", "loss^2/activation^2", f"{_PAPER}: (gamma^2/sigma^2) <1,g>^2 / m"),
    ("correlation_term", "loss^2/activation^2", f"{_PAPER}: (gamma^2/sigma^2) c <g,yhat>^2"),
    ("theorem_4_1_as_printed", "loss^2/activation^2", f"{_PAPER}, as printed in version 3, c = 1/sqrt(m)"),
    ("theorem_4_1_as_printed_violated", "fraction", f"{_PAPER}: share of units whose left side exceeds it"),
    ("sigma_mean", "activation", "Santurkar et al. 2018, section 4 (S23)"),
    ("sigma_median", "activation", "Santurkar et al. 2018, section 4 (S23)"),
    ("sigma_maximum", "activation", "Santurkar et al. 2018, section 4 (S23)"),
    ("gamma_over_sigma_mean", "1", "gamma/sigma, average over units"),
    ("shift_over_sigma_mean", "1", "|beta - mean|/sigma, average over units"),
)
_CURVATURE: tuple[tuple[str, str, str], ...] = (
    ("theorem_4_2_left_hand_side", "loss^3/activation^4", "Santurkar et al. 2018, Theorem 4.2, jointly over units"),
    ("theorem_4_2_right_hand_side", "loss^3/activation^4", "Santurkar et al. 2018, Theorem 4.2, with eps"),
    ("theorem_4_2_curvature_term", "loss^3/activation^4", "u^T (d2L/dz2) u"),
    ("theorem_4_2_bend_term", "loss^3/activation^4", "sum (gamma/(m sigma^2)) <g,yhat> ||dL/dy||^2, with eps"),
)
_ARRAYS = (
    ("activation_gradient_squared", "loss^2/activation^2"),
    ("scaling_term", "loss^2/activation^2"),
    ("mean_term", "loss^2/activation^2"),
    ("correlation_term", "loss^2/activation^2"),
    ("sigma", "activation"),
    ("gamma_over_sigma", "1"),
    ("shift_over_sigma", "1"),
)
