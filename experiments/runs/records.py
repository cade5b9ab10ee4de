"""What a run measured, on disk: an append-only log of numbers, chunks of arrays, and their compact form at the end.

The log and the chunks are part of the checkpoint's promise: a checkpoint holds the log's length, and going on from it
cuts the log back and drops later chunks, so the records of a resumed run are those of a run never stopped.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from experiments.array_file import DAMAGED, merged, read_arrays
from experiments.errors import RunFailure
from experiments.mirrors import Mirror
from experiments.runs.files import write_atomically, write_json
from experiments.runs.format import (
    ARRAYS,
    CHUNKS,
    FIELDS,
    MADE_FROM,
    RECORDS_LOG,
    RECORDS_TABLE,
    DamagedLog,
    FieldDescription,
    fields_from_json,
    log_entries,
    log_line,
    log_to_table,
    step_name,
    step_of,
)

log = logging.getLogger("experiments")


class RecordWriter:
    """The records of one run, open for appending.

    Args:
        folder: the run folder.
        fields: what may be recorded, as fields.json has it.
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
        fields: Mapping[str, Mapping[str, Mapping[str, Any]]],
        keep_bytes: int = 0,
        keep_before: int = 0,
        may_write: Callable[[], None] = lambda: None,
        mirror: Mirror | None = None,
    ) -> None:
        self.folder = folder
        self.fields = fields_from_json(fields)
        self._may_write, self._mirror = may_write, mirror
        self.log_path = folder / RECORDS_LOG
        self._check(keep_bytes)
        write_json(folder / FIELDS, fields)
        for chunk in self._chunks():
            if step_of(chunk.stem) >= keep_before:
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
            if self.fields[probe][key].in_records:
                numbers[key] = value.tolist() if isinstance(value, (torch.Tensor, np.ndarray)) else value
            else:
                self._arrays[f"{probe}/{key}"] = np.asarray(value)
        if numbers:
            self._may_write()
            self._log.write(log_line(step, probe, numbers))
            self._log.flush()
            if self._mirror is not None:
                self._mirror.write(probe, step, self._named(probe, numbers))

    def _named(self, probe: str, values: Mapping[str, Any]) -> dict[str, float]:
        """One name for each number: its key, with its layer and position where it has them."""
        named = {}
        for key, value in values.items():
            described = self.fields[probe][key]
            coordinates = product(*(names for names in (described.layer, described.x) if names is not None))
            for coordinate, number in zip(coordinates, np.asarray(value, dtype=np.float64).reshape(-1), strict=True):
                named["/".join([key, *(f"{c:g}" if isinstance(c, float) else str(c) for c in coordinate)])] = float(
                    number
                )
        return named

    def end_step(self, step: int) -> None:
        """Writes the arrays appended at ``step``, if any, as one chunk."""
        if self._arrays:
            self._may_write()
            target = self.folder / CHUNKS / f"{step_name(step)}.npz"
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
        content = self.log_path.read_bytes()
        with self._damage_named():
            table = log_to_table(content, self.fields)
        buffer = pa.BufferOutputStream()
        made_from = {MADE_FROM: str(len(content)).encode()}
        pq.write_table(table.replace_schema_metadata(made_from), buffer, compression="zstd")
        write_atomically(self.folder / RECORDS_TABLE, buffer.getvalue().to_pybytes())
        chunks = self._chunks()
        if not chunks:
            return
        merged_path = self.folder / ARRAYS
        try:
            by_key = read_arrays(merged_path) if merged_path.exists() else {}
            for chunk in chunks:
                with open(chunk, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                    for key in arrays.files:
                        by_key.setdefault(key, {})[step_of(chunk.stem)] = arrays[key]
        except DAMAGED as error:
            raise RunFailure(f"{self.folder / 'arrays'}: an array file is damaged: {error}") from error
        _write_npz(merged_path, merged(by_key))
        shutil.rmtree(self.folder / CHUNKS)

    def _chunks(self) -> list[Path]:
        return sorted((self.folder / CHUNKS).glob("step-*.npz"))

    def _check(self, keep_bytes: int) -> None:
        size = self.log_path.stat().st_size if self.log_path.exists() else 0
        if size < keep_bytes:
            raise RunFailure(
                f"{self.log_path}: damaged: the checkpoint expects {keep_bytes} bytes, the file has {size}; "
                "restore it, or delete the run folder to start anew"
            )
        if keep_bytes:
            with self._damage_named(), open(self.log_path, "rb") as file:
                content = file.read(keep_bytes)
                lines = sum(1 for _ in log_entries(content))
                if not content.endswith(b"\n"):
                    raise DamagedLog(lines + 1, "it does not end")

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except DamagedLog as error:
            raise RunFailure(
                f"{self.log_path}: line {error.line} is damaged ({error}); restore the file, or delete the run folder "
                "to start anew"
            ) from error


def describe(fields: Mapping[str, tuple[str, str, str, str, str]]) -> dict[str, dict[str, Any]]:
    """Entries of fields.json: by key the metric, unit, batch, point and reference of one number."""
    return {key: FieldDescription(*described).to_json() for key, described in fields.items()}


class ProbeRecorder:
    """Takes what the probes measure to the records, once these are open."""

    def __init__(self) -> None:
        self.records: RecordWriter | None = None

    def __call__(self, probe: str, step: int, values: Mapping[str, torch.Tensor]) -> None:
        """Appends one probe's numbers of one step."""
        assert self.records is not None
        self.records.append(probe, step, values)


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())
