"""What can be asked at a point. One's own is a class derived from one of those in ``probes.reductions.reduction``.

Each is evaluated once per (batch, point) while the tensors it reads are alive, on their device.
"""

from probes.reductions.change import ChangeParts
from probes.reductions.curvature import DifferenceProducts, HessianProducts
from probes.reductions.derivatives import CurvatureReduction, Derivatives
from probes.reductions.domains import DomainMoments
from probes.reductions.dynamics import (
    BufferValues,
    ChannelNorms,
    DistancesFromStart,
    UnitsFromStart,
    UpdateTerms,
    WeightTerms,
)
from probes.reductions.gradients import GradientComparison, GradientNorms, GradientProducts, GradientValues
from probes.reductions.hessian import ExtremeEigenvalues, HessianReduction, SpectralDensity, Trace
from probes.reductions.histogram import Histogram
from probes.reductions.jacobian import SingularValues
from probes.reductions.loss import LossParts
from probes.reductions.margins import Margins
from probes.reductions.moments import Moments
from probes.reductions.normalisation import NormalisationTerms, TapCurvature
from probes.reductions.parameters import NamedNorms, ParameterNorms, ParameterValues, UpdateNorms
from probes.reductions.quantiles import Quantiles
from probes.reductions.reduction import (
    ChangeReduction,
    DifferenceReduction,
    GradientReduction,
    Graph,
    LossReduction,
    ParameterReduction,
    Reduction,
    SecondDerivative,
    StateReduction,
    TapGradientReduction,
    TapReduction,
)
from probes.reductions.representations import AbsoluteMeans, Geometry, MostPredicted, Shape, UnitNorms
from probes.reductions.saturated import Dead, Saturated
from probes.reductions.segments import SignChanges
from probes.reductions.taps import TapGradient, TapGradientNorm, TapValues

__all__ = [
    "AbsoluteMeans",
    "BufferValues",
    "ChangeParts",
    "ChangeReduction",
    "ChannelNorms",
    "CurvatureReduction",
    "Dead",
    "Derivatives",
    "DifferenceProducts",
    "DifferenceReduction",
    "DistancesFromStart",
    "DomainMoments",
    "ExtremeEigenvalues",
    "Geometry",
    "GradientComparison",
    "GradientNorms",
    "GradientProducts",
    "GradientReduction",
    "GradientValues",
    "Graph",
    "HessianProducts",
    "HessianReduction",
    "Histogram",
    "LossParts",
    "LossReduction",
    "Margins",
    "Moments",
    "MostPredicted",
    "NamedNorms",
    "NormalisationTerms",
    "ParameterNorms",
    "ParameterReduction",
    "ParameterValues",
    "Quantiles",
    "Reduction",
    "Saturated",
    "SecondDerivative",
    "Shape",
    "SignChanges",
    "SingularValues",
    "SpectralDensity",
    "StateReduction",
    "TapCurvature",
    "TapGradient",
    "TapGradientNorm",
    "TapGradientReduction",
    "TapReduction",
    "TapValues",
    "Trace",
    "UnitNorms",
    "UnitsFromStart",
    "UpdateNorms",
    "UpdateTerms",
    "WeightTerms",
]
