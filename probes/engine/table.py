"""Records as a tidy table, and on disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from torch import Tensor

from probes.errors import ProbeError
from probes.protocol import Declaration, Field

Record = tuple[str, int, Mapping[str, Tensor]]
"""(probe, step, values)."""
WRITERS = "batchnorm_suite.run_folders"
"""Entry points under which an installed package offers to write what was measured."""


def rows(declarations: Mapping[str, Declaration], records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row per number: step, probe, metric, batch, point, layer, x, value, unit; in the order of the records."""
    return [
        {"step": step, "probe": probe, **row}
        for probe, step, values in records
        for key, value in values.items()
        for row in _rows(declarations[probe].fields[key], value)
    ]


def _rows(field: Field, value: Tensor) -> Iterator[dict[str, Any]]:
    if not set(field.dims) <= {"layer", "x"}:
        return
    along = [field.layer if dim == "layer" else field.x for dim in field.dims]
    places = itertools.product(*(names or () for names in along))
    for place, number in zip(places, value.reshape(-1).tolist(), strict=True):
        where = {"layer": None, "x": None, **dict(zip(field.dims, place, strict=True))}
        named = {"metric": field.metric, "batch": field.batch, "point": field.point}
        yield {**named, **where, "value": number, "unit": field.unit}


def save(
    fields: Mapping[str, Mapping[str, Mapping[str, Any]]],
    records: Sequence[Record],
    folder: Any,
    described: Mapping[str, Any],
) -> Any:
    """Has a run folder written by the package that is installed for it; which one, nothing here knows.

    Raises:
        ProbeError: there is nothing to write, or nobody to write it.
    """
    if not records:
        raise ProbeError("save: nothing is in records (nothing was probed yet, or a sink took it)")
    writers = list(metadata.entry_points(group=WRITERS))
    if not writers:
        raise ProbeError("save: no installed package writes run folders; install the suite (pip install -e .)")
    return writers[0].load()(fields, records, folder, described)
