"""What a run measured, on disk: an append-only log of numbers, chunks of arrays, and their compact form at the end.

The log and the chunks are part of the checkpoint's promise: a checkpoint holds the log's length, and going on from it
cuts the log back and drops later chunks, so the records of a resumed run are those of a run never stopped.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from experiments.errors import RunFailure
from experiments.mirrors import Mirror

log = logging.getLogger("experiments")

Fields = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""probe -> key -> metric, dims, unit, batch, point, layer, x, reference; what fields.json holds."""


def field(
    metric: str,
    unit: str,
    *,
    batch: str,
    point: str,
    reference: str = "",
    dims: tuple[str, ...] = (),
    layer: list[str] | None = None,
    x: list[float] | None = None,
) -> dict[str, Any]:
    """The description of one recorded number or array, as it stands in fields.json."""
    return {
        "metric": metric,
        "dims": list(dims),
        "unit": unit,
        "batch": batch,
        "point": point,
        "layer": layer,
        "x": x,
        "reference": reference,
    }


def write_atomically(path: Path, content: bytes) -> None:
    """Writes ``content`` under a temporary name, syncs and renames: the file is old or new, never half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Writes ``content`` as readable JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


class Records:
    """The records of one run, open for appending.

    Args:
        folder: the run folder.
        fields: what may be recorded.
        keep_bytes: length of the log to keep (from the checkpoint; 0 for a fresh run).
        keep_before: array chunks of this step and later ones are dropped.
        may_write: called before anything is written; raises where the run is no longer this process's.
        mirror: also gets the numbers.

    Raises:
        RunFailure: the log is shorter than the checkpoint says, or holds a line that cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        fields: Fields,
        keep_bytes: int = 0,
        keep_before: int = 0,
        may_write: Callable[[], None] = lambda: None,
        mirror: Mirror | None = None,
    ) -> None:
        self.folder = folder
        self.fields = fields
        self._may_write, self._mirror = may_write, mirror
        self.log_path = folder / "records.jsonl"
        self._check(keep_bytes)
        write_json(folder / "fields.json", fields)
        for chunk in self._chunks():
            if _step_of(chunk) >= keep_before:
                chunk.unlink()
        self._log = open(self.log_path, "ab")  # noqa: SIM115 - open as long as the run
        self._log.truncate(keep_bytes)
        self._log.seek(keep_bytes)
        self._arrays: dict[str, np.ndarray] = {}

    @property
    def bytes(self) -> int:
        """Length of the log."""
        return self._log.tell()

    def append(self, probe: str, step: int, values: Mapping[str, Any]) -> None:
        """Adds what ``probe`` measured at ``step``: one flushed line for numbers, arrays to the step's chunk."""
        numbers = {}
        for key, value in values.items():
            if set(self.fields[probe][key]["dims"]) <= {"layer", "x"}:
                numbers[key] = _encode(value.tolist() if isinstance(value, (torch.Tensor, np.ndarray)) else value)
            else:
                self._arrays[f"{probe}/{key}"] = np.asarray(value)
        if numbers:
            self._may_write()
            line = json.dumps({"step": step, "probe": probe, "values": numbers}, allow_nan=False)
            self._log.write(line.encode() + b"\n")
            self._log.flush()
            if self._mirror is not None:
                self._mirror.write(probe, step, self._named(probe, numbers))

    def _named(self, probe: str, values: Mapping[str, Any]) -> dict[str, float]:
        """One name for each number: its key, with its layer and position where it has them."""
        named = {}
        for key, value in values.items():
            declared = self.fields[probe][key]
            coordinates = product(*(declared[dim] for dim in declared["dims"]))
            for coordinate, number in zip(coordinates, np.asarray(value, dtype=np.float64).reshape(-1), strict=True):
                named["/".join([key, *(f"{c:g}" if isinstance(c, float) else str(c) for c in coordinate)])] = float(
                    number
                )
        return named

    def end_step(self, step: int) -> None:
        """Writes the arrays appended at ``step``, if any, as one chunk."""
        if self._arrays:
            self._may_write()
            target = self.folder / "arrays" / f"step-{step:08d}.npz"
            target.parent.mkdir(exist_ok=True)
            _write_npz(target, self._arrays)
            self._arrays = {}

    def sync(self) -> int:
        """Makes sure that the log is on the disk, and returns its length."""
        os.fsync(self._log.fileno())
        return self.bytes

    def close(self) -> None:
        """Closes the log."""
        self._log.close()
        if self._mirror is not None:
            try:
                self._mirror.close()
            except Exception:  # the records are whole without it
                log.exception("%s: the mirror could not be closed", self.folder.name)

    def compact(self) -> None:
        """Writes the compact forms: records.parquet beside the log, and arrays.npz in place of the chunks."""
        self._may_write()
        self.sync()
        _write_parquet(self.log_path, self.fields, self.folder / "records.parquet")
        chunks = self._chunks()
        if not chunks:
            return
        merged_path = self.folder / "arrays.npz"
        by_key: dict[str, dict[int, np.ndarray]] = {}
        try:
            if merged_path.exists():
                with open(merged_path, "rb") as file, np.load(file, allow_pickle=False) as earlier:
                    for key in (name.removesuffix("/steps") for name in earlier.files if name.endswith("/steps")):
                        steps, values = earlier[f"{key}/steps"].tolist(), earlier[f"{key}/values"]
                        by_key[key] = dict(zip(steps, values, strict=True))
            for chunk in chunks:
                with open(chunk, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                    for key in arrays.files:
                        by_key.setdefault(key, {})[_step_of(chunk)] = arrays[key]
        except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
            raise RunFailure(f"{self.folder / 'arrays'}: an array file is damaged: {error}") from error
        merged = {}
        for key, by_step in by_key.items():
            merged[f"{key}/steps"] = np.array(sorted(by_step), dtype=np.int64)
            merged[f"{key}/values"] = np.stack([by_step[step] for step in sorted(by_step)])
        _write_npz(merged_path, merged)
        shutil.rmtree(self.folder / "arrays")

    def _chunks(self) -> list[Path]:
        return sorted((self.folder / "arrays").glob("step-*.npz"))

    def _check(self, keep_bytes: int) -> None:
        size = self.log_path.stat().st_size if self.log_path.exists() else 0
        if size < keep_bytes:
            raise RunFailure(
                f"{self.log_path}: damaged: the checkpoint expects {keep_bytes} bytes, the file has {size}; "
                "restore it, or delete the run folder to start anew"
            )
        if keep_bytes:
            for _ in _lines(self.log_path, keep_bytes):
                pass


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def _step_of(chunk: Path) -> int:
    return int(chunk.stem.removeprefix("step-"))


def _encode(value: Any) -> Any:
    """Numbers as JSON has them; nan and the infinities, which JSON lacks, as strings."""
    if isinstance(value, (list, tuple)):
        return [_encode(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def _lines(path: Path, length: int | None = None) -> Iterator[dict[str, Any]]:
    """The lines of a log, up to ``length`` bytes.

    Raises:
        RunFailure: a line that is no record, by number.
    """
    with open(path, "rb") as file:
        content = file.read() if length is None else file.read(length)
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            record = json.loads(line)
            record["step"], record["probe"], record["values"]
        except (ValueError, TypeError, KeyError) as error:
            raise RunFailure(
                f"{path}: line {number} is damaged ({error}); restore the file, or delete the run folder to start anew"
            ) from error
        yield record


def _write_parquet(log: Path, fields: Fields, target: Path) -> None:
    columns: dict[str, list[Any]] = {
        name: [] for name in ("step", "probe", "metric", "batch", "point", "layer", "x", "value", "unit")
    }
    for record in _lines(log):
        for key, value in record["values"].items():
            declared = fields[record["probe"]][key]
            coordinates = list(product(*(declared[dim] for dim in declared["dims"])))
            rows = len(coordinates)
            columns["step"] += [record["step"]] * rows
            columns["probe"] += [record["probe"]] * rows
            for name in ("metric", "batch", "point", "unit"):
                columns[name] += [declared[name]] * rows
            for dim in ("layer", "x"):
                place = declared["dims"].index(dim) if dim in declared["dims"] else None
                columns[dim] += [None] * rows if place is None else [c[place] for c in coordinates]
            columns["value"] += np.asarray(value, dtype=np.float64).reshape(-1).tolist()
    text = pa.dictionary(pa.int32(), pa.string())
    types = {"step": pa.int64(), "x": pa.float64(), "value": pa.float64()}
    schema = pa.schema([(name, types.get(name, text)) for name in columns])
    table = pa.table({n: pa.array(v, type=schema.field(n).type) for n, v in columns.items()}, schema=schema)
    table = table.replace_schema_metadata({b"records_bytes": str(log.stat().st_size).encode()})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(target, buffer.getvalue().to_pybytes())
