"""The probes by name. A probe's constructor is its list of options: typed keyword arguments."""

from __future__ import annotations

from typing import Any

from probes.activations import Activations
from probes.errors import ProbeError
from probes.gradients import Gradients
from probes.ics import InternalCovariateShift
from probes.landscape import Landscape
from probes.theory import Theory

PROBES: dict[str, type] = {
    "activations": Activations,
    "gradients": Gradients,
    "ics": InternalCovariateShift,
    "landscape": Landscape,
    "theory": Theory,
}


def make_probe(name: str, **options: Any) -> Any:
    """The built-in probe called ``name``.

    Raises:
        ProbeError: there is none of this name.
    """
    if name not in PROBES:
        raise ProbeError(f"probe {name!r}: unknown; allowed: {', '.join(sorted(PROBES))}")
    return PROBES[name](**options)
