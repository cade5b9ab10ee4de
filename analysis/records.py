"""The records of a run, one row per number: from its compacted table, or from its log while it trains.

They are read from `records.parquet` where the run has ended and that file was made from the whole log (it says from how
many bytes), and otherwise from the log itself, `records.jsonl`.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import DamagedFile
from analysis.folders import Field, Fields, Run

RECORD_COLUMNS = ["step", "probe", "metric", "batch", "point", "layer", "x", "value", "unit"]
RECORD_TEXTS = ["probe", "metric", "batch", "point", "layer", "unit"]
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

_TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [(name, {"step": pa.int64(), "x": pa.float64(), "value": pa.float64()}.get(name, _TEXT)) for name in RECORD_COLUMNS]
)


def records_of(run: Run) -> pa.Table:
    """The table of RECORD_COLUMNS, in the order of the log; texts are dictionaries. Raises DamagedFile."""
    log = run.folder / "records.jsonl"
    if run.status.get("state") in ("finished", "diverged") and "records.parquet" in run.files:
        table = _from_parquet(run, log.stat().st_size if "records.jsonl" in run.files else None)
        if table is not None:
            return table
    if "records.jsonl" not in run.files:
        return SCHEMA.empty_table()
    try:
        content = log.read_bytes()
    except OSError as error:
        raise DamagedFile(f"{log} cannot be read: {error.strerror}") from error
    return _from_log(log, content, run.fields)


def _from_parquet(run: Run, log_bytes: int | None) -> pa.Table | None:
    """The compacted records; None where they were made from another state of the log (the run went on since)."""
    path = run.folder / "records.parquet"
    try:
        with pq.ParquetFile(path, read_dictionary=RECORD_TEXTS) as file:
            made_from = (file.metadata.metadata or {}).get(b"records_bytes")
            if log_bytes is not None and (made_from is None or int(made_from) != log_bytes):
                return None
            table = file.read(columns=RECORD_COLUMNS, use_threads=False)
        return table.select(RECORD_COLUMNS).cast(SCHEMA).replace_schema_metadata(None)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        cure = "" if log_bytes is None else "; delete it, and the run is read from its log records.jsonl"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFile(f"{path} is damaged{cure} ({reason})") from error


@dataclass
class _Block:
    """All values of one key of one probe, as they stand in the log."""

    spec: Field
    steps: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def _from_log(path: Path, content: bytes, fields: Fields) -> pa.Table:
    """The records of a log, one row per number, in the order of the log."""
    blocks: dict[tuple[str, str], _Block] = {}
    order = 0
    # What stands behind the last newline is being written at this moment, or was when the process was killed.
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            entry = json.loads(line)
            step, probe, values = entry["step"], entry["probe"], entry["values"]
            if type(step) is not int:
                raise TypeError(f"step is {step!r}")
            for key, value in values.items():
                block = blocks.get((probe, key))
                if block is None:
                    block = blocks[probe, key] = _Block(fields[probe][key])
                block.steps.append(step)
                block.values.append(value)
                block.order.append(order)
                block.lines.append(number)
                order += 1
        except (ValueError, TypeError, AttributeError) as error:
            raise DamagedFile(f"{path} is damaged in line {number}: no record of a step ({error})") from error
        except KeyError as error:
            raise DamagedFile(
                f"{path} is damaged in line {number}: {error} is missing, or not in fields.json"
            ) from error
    if not blocks:
        return SCHEMA.empty_table()

    words: dict[str, dict[str, int]] = {name: {} for name in RECORD_TEXTS}

    def code(column: str, name: str) -> int:
        return words[column].setdefault(name, len(words[column]))

    parts: dict[str, list[np.ndarray]] = {name: [] for name in [*RECORD_COLUMNS, "order"]}
    for (probe, _), block in blocks.items():
        spec = block.spec
        values = _values(path, block)
        cells = math.prod(spec.shape)
        parts["value"].append(values.ravel())
        parts["step"].append(np.repeat(np.array(block.steps, dtype=np.int64), cells))
        parts["order"].append(np.repeat(np.array(block.order, dtype=np.int64), cells))
        layers = np.array([code("layer", name) for name in spec.layer] if spec.layer is not None else [-1], np.int32)
        xs = np.array(spec.x if spec.x is not None else [math.nan])
        parts["layer"].append(np.tile(np.repeat(layers, len(xs)), len(values)))
        parts["x"].append(np.tile(xs, len(layers) * len(values)))
        texts = {"probe": probe, "metric": spec.metric, "batch": spec.batch, "point": spec.point, "unit": spec.unit}
        for column, text in texts.items():
            parts[column].append(np.full(values.size, code(column, text), np.int32))
    in_order = np.argsort(np.concatenate(parts.pop("order")), kind="stable")
    arrays = []
    for name in RECORD_COLUMNS:
        values = np.concatenate(parts[name])[in_order]
        if name in words:
            known = pa.array(list(words[name]), type=pa.string())
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(values, mask=values < 0), known))
        else:
            arrays.append(pa.array(values, mask=np.isnan(values) if name == "x" else None))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _values(path: Path, block: _Block) -> np.ndarray:
    """[lines, layers, x] of one key, float64; without a look at every number where they are plain and of one shape."""
    flat: list[Any] = block.values
    regular = True
    for length in block.spec.shape:
        regular = regular and set(map(type, flat)) == {list} and set(map(len, flat)) == {length}
        flat = list(itertools.chain.from_iterable(flat)) if regular else []
    if regular and set(map(type, flat)) <= {int, float}:
        return np.array(flat, dtype=np.float64).reshape(len(block.values), *block.spec.shape)
    plain = []
    for line, value in zip(block.lines, block.values, strict=True):
        try:
            plain.append(_number_or_list(value, block.spec.shape))
        except (ValueError, TypeError, KeyError):
            expected = f"numbers of shape {list(block.spec.shape)}" if block.spec.shape else "a number"
            raise DamagedFile(f"{path} is damaged in line {line}: {block.spec.metric} is not {expected}") from None
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
