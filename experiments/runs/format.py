"""The run folder's format: what its files are called, and what stands in those that others read.

The one place where it is written down, for whoever writes a run (:mod:`experiments.runs`) and whoever reads it
(:mod:`analysis`). It needs numpy, pyarrow and the standard library; never torch.

    config.json        who the run is: results_version, common_version (of all models that no later change touched),
                       run, experiment, spec, training, measurement, defaults, measurement_defaults, choices, config
    status.json        how far it is
    provenance.json    under which conditions each start was made
    fields.json        probe -> key -> what is recorded (:class:`FieldDescription`)
    records.jsonl      the log: one line per probe and step; numbers, and lists of numbers over layer and x
    records.parquet    the log as a table (:data:`RECORD_COLUMNS`), once the run has ended
    arrays/, arrays.npz   arrays with other dims, one chunk per step, and all of them once the run has ended
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

CONFIG = "config.json"
STATUS = "status.json"
PROVENANCE = "provenance.json"
FIELDS = "fields.json"
RECORDS_LOG = "records.jsonl"
RECORDS_TABLE = "records.parquet"
CHUNKS = "arrays"
"""The folder of the chunks, ``arrays/step-00000100.npz``."""
ARRAYS = "arrays.npz"
CHECKPOINT = "checkpoint.pt"
PREVIOUS_CHECKPOINT = "checkpoint.previous.pt"
NEXT_CHECKPOINT = "checkpoint.next.pt"
"""While it is being written."""
KEPT = "kept"
"""The folder of the checkpoints kept for good, ``kept/step-00000100.pt``."""
LOG = "log.txt"
TRACEBACK = "traceback.txt"
TIMES = "times.jsonl"
LOCK = "lock"
LEASE = "lease-"
"""With a number: who writes here; its time of modification is its holder's last sign of life."""

SWEEP = ".sweep"
"""Beside the run folders: what sweeps keep of themselves."""

BEGUN = (STATUS, CHECKPOINT, RECORDS_LOG, RECORDS_TABLE)
"""Files that a run has only after its config.json."""


def lost_config(folder: Path) -> bool:
    """Whether a folder holds a run that has lost its config.json, so that nobody can tell which run it is."""
    return not (folder / CONFIG).exists() and any((folder / name).exists() for name in BEGUN)


def step_name(step: int) -> str:
    """What the file of one step is called, without its ending; `step_of` is its inverse (ValueError)."""
    return f"step-{step:08d}"


def step_of(stem: str) -> int:
    return int(stem.removeprefix("step-"))


# Configuration keys ---------------------------------------------------------------------------------------------------

_FILES = {f"data.{a}{b}" for a in ("", "first_options.", "second_options.") for b in ("root", "cache", "download")}
_WHERE = {"device", "threads", "launcher", "runs_dir", "run_name", "label", "arm", "choices", "scale", "data.label"}
_HOW = {"lease_seconds", "resume", "retry_diverged", "dry", "mirror", "checkpoint", "probe_again"}
PROVENANCE_KEYS = frozenset(_FILES | _WHERE | _HOW | {"numerics.name", "report", "confirm", "pilots"})
"""Configuration keys that change no number. (data.test_subset is none: records on other samples must not be joined.)"""

MEASUREMENT_KEYS = frozenset({"probes", "evaluation"})
"""Those that say what is measured, and change no bit of what is trained."""


def kind_of_key(key: str) -> Literal["training", "measurement", "provenance"]:
    """What a dotted key of the configuration belongs to; a group's keys belong to what the group does."""
    above = {key[:end] for end, sign in enumerate(f"{key}.") if sign == "."}
    if above & PROVENANCE_KEYS:
        return "provenance"
    return "measurement" if above & MEASUREMENT_KEYS else "training"


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping by dotted keys; an empty mapping is a value."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return found


def training_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """Every training option of a run by dotted key, defaults filled in: runs that are equal here are one training.

    Args:
        described: what config.json holds. One of before training and measurement were told apart has all of both,
            defaults too, as ``identity``.
    """
    if "training" in described:
        return {**described["defaults"], **flat(described["training"])}
    return {key: v for key, v in flat(described.get("identity") or {}).items() if kind_of_key(key) == "training"}


# Fields ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FieldDescription:
    """What fields.json says of one key of a probe.

    Args:
        metric, unit, batch, point, reference: what is measured, in what, on which batch, where, and who defined it.
        dims: of one step's value. With none but ``layer`` and ``x``, in this order, it lies in the records.
        layer, x: the coordinates along these dims.
        of_layer: the one layer of an array without that dimension.
        edges: the numbers along another dimension of an array: edges of bins, levels.
    """

    metric: str
    unit: str
    batch: str
    point: str
    reference: str = ""
    dims: tuple[str, ...] = ()
    layer: tuple[str, ...] | None = None
    x: tuple[float, ...] | None = None
    of_layer: str | None = None
    edges: tuple[float, ...] | None = None

    @property
    def in_records(self) -> bool:
        """Whether its values lie in the records; otherwise they lie in the arrays."""
        return set(self.dims) <= {"layer", "x"}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a value in the records: layers, then x, as far as it has them."""
        return tuple(len(names) for names in (self.layer, self.x) if names is not None)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> FieldDescription:
        """Raises KeyError, TypeError or ValueError where the entry is none."""
        dims = tuple(entry["dims"])
        layer, x = entry["layer"], None if entry["x"] is None else tuple(map(float, entry["x"]))
        described = cls(
            metric=entry["metric"],
            unit=entry["unit"],
            batch=entry["batch"],
            point=entry["point"],
            reference=entry["reference"],
            dims=dims,
            layer=tuple(layer) if "layer" in dims and layer is not None else None,
            x=x if "x" in dims else None,
            of_layer=layer[0] if "layer" not in dims and layer else None,
            edges=x if "x" not in dims else None,
        )
        if described.in_records and dims != tuple(dim for dim in ("layer", "x") if dim in dims):
            raise ValueError(f"dims {list(dims)}: must be layer, then x")
        return described

    def to_json(self) -> dict[str, Any]:
        """The entry of fields.json."""
        layer = self.layer if self.of_layer is None else (self.of_layer,)
        x = self.x if self.edges is None else self.edges
        return {
            "metric": self.metric,
            "dims": list(self.dims),
            "unit": self.unit,
            "batch": self.batch,
            "point": self.point,
            "layer": None if layer is None else list(layer),
            "x": None if x is None else list(x),
            "reference": self.reference,
        }


Fields: TypeAlias = Mapping[str, Mapping[str, FieldDescription]]
"""Probe -> key -> its description."""


def fields_from_json(content: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Fields:
    """What fields.json holds. Raises KeyError, TypeError, ValueError or AttributeError where it is none."""
    read = FieldDescription.from_json
    return {probe: {key: read(entry) for key, entry in keys.items()} for probe, keys in content.items()}


# Records --------------------------------------------------------------------------------------------------------------

RECORD_COLUMNS = ["step", "probe", "metric", "batch", "point", "layer", "x", "value", "unit"]
RECORD_TEXTS = ["probe", "metric", "batch", "point", "layer", "unit"]
_TEXT = pa.dictionary(pa.int32(), pa.string())
RECORD_SCHEMA = pa.schema(
    [(name, {"step": pa.int64(), "x": pa.float64(), "value": pa.float64()}.get(name, _TEXT)) for name in RECORD_COLUMNS]
)
MADE_FROM = b"records_bytes"
"""In the table's metadata: the length of the log that it was made from."""
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
"""How the log spells the numbers that JSON lacks."""


class DamagedLog(ValueError):
    """A line of the log is no record; ``line`` is its number, from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def log_line(step: int, probe: str, values: Mapping[str, Any]) -> bytes:
    """One line of the log; ``values`` are numbers, or lists of numbers nested over layer and x."""
    return json.dumps({"step": step, "probe": probe, "values": _spelled(values)}, allow_nan=False).encode() + b"\n"


def _spelled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _spelled(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def log_entries(content: bytes) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
    """Line number, step, probe and values of each whole line of a log.

    What stands behind the last newline is being written at this moment, or was when the process was killed.

    Raises:
        DamagedLog: a line that is no record.
    """
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            entry = json.loads(line)
            step, probe, values = entry["step"], entry["probe"], entry["values"]
            if type(step) is not int:
                raise TypeError(f"step is {step!r}")
            if not isinstance(values, dict):
                raise TypeError(f"values are {values!r}")
        except KeyError as error:
            raise DamagedLog(number, f"{error} is missing, or not in fields.json") from error
        except (ValueError, TypeError) as error:
            raise DamagedLog(number, f"no record of a step ({error})") from error
        yield number, step, probe, values


@dataclass
class _Block:
    """All values of one key of one probe, as they stand in the log."""

    described: FieldDescription
    steps: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def log_to_table(content: bytes, fields: Fields) -> pa.Table:
    """The records of a log (``content`` of records.jsonl): one row per number, in the order of the log.

    Raises:
        DamagedLog: a line that is no record, or not of the declared shape.
    """
    blocks: dict[tuple[str, str], _Block] = {}
    order = itertools.count()
    for number, step, probe, values in log_entries(content):
        for key, value in values.items():
            block = blocks.get((probe, key))
            if block is None:
                try:
                    block = blocks[probe, key] = _Block(fields[probe][key])
                except (KeyError, TypeError) as error:
                    raise DamagedLog(number, f"{error} is missing, or not in fields.json") from error
            block.steps.append(step)
            block.values.append(value)
            block.order.append(next(order))
            block.lines.append(number)
    if not blocks:
        return RECORD_SCHEMA.empty_table()

    words: dict[str, dict[str, int]] = {name: {} for name in RECORD_TEXTS}

    def code(column: str, name: str) -> int:
        return words[column].setdefault(name, len(words[column]))

    parts: dict[str, list[np.ndarray]] = {name: [] for name in [*RECORD_COLUMNS, "order"]}
    for (probe, _), block in blocks.items():
        described = block.described
        numbers = _numbers(block)
        cells = math.prod(described.shape)
        parts["value"].append(numbers.ravel())
        parts["step"].append(np.repeat(np.array(block.steps, dtype=np.int64), cells))
        parts["order"].append(np.repeat(np.array(block.order, dtype=np.int64), cells))
        layers = np.array([-1] if described.layer is None else [code("layer", n) for n in described.layer], np.int32)
        xs = np.array([math.nan] if described.x is None else described.x)
        parts["layer"].append(np.tile(np.repeat(layers, len(xs)), len(numbers)))
        parts["x"].append(np.tile(xs, len(layers) * len(numbers)))
        texts = {"probe": probe, **{name: getattr(described, name) for name in ("metric", "batch", "point", "unit")}}
        for name, text in texts.items():
            parts[name].append(np.full(numbers.size, code(name, text), np.int32))
    in_order = np.argsort(np.concatenate(parts.pop("order")), kind="stable")
    arrays = []
    for name in RECORD_COLUMNS:
        column = np.concatenate(parts[name])[in_order]
        if name in words:
            known = pa.array(list(words[name]), type=pa.string())
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(column, mask=column < 0), known))
        else:
            arrays.append(pa.array(column, mask=np.isnan(column) if name == "x" else None))
    return pa.Table.from_arrays(arrays, schema=RECORD_SCHEMA)


def _numbers(block: _Block) -> np.ndarray:
    """[lines, layers, x] of one key, float64; without a look at every number where they are plain and of one shape."""
    shape = block.described.shape
    flat: list[Any] = block.values
    regular = True
    for length in shape:
        regular = regular and set(map(type, flat)) == {list} and set(map(len, flat)) == {length}
        flat = list(itertools.chain.from_iterable(flat)) if regular else []
    if regular and set(map(type, flat)) <= {int, float}:
        return np.array(flat, dtype=np.float64).reshape(len(block.values), *shape)
    plain = []
    for line, value in zip(block.lines, block.values, strict=True):
        try:
            plain.append(_number_or_list(value, shape))
        except (ValueError, TypeError, KeyError):
            expected = f"numbers of shape {list(shape)}" if shape else "a number"
            raise DamagedLog(line, f"{block.described.metric} is not {expected}") from None
    return np.array(plain, dtype=np.float64)


def _number_or_list(value: Any, shape: tuple[int, ...]) -> Any:
    if shape:
        if not isinstance(value, list) or len(value) != shape[0]:
            raise ValueError
        return [_number_or_list(inner, shape[1:]) for inner in value]
    if isinstance(value, str):
        return NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)
