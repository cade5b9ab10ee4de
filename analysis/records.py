"""The records of a run, one row per number: from its compacted table, or from its log while it trains.

They are read from `records.parquet` where the run has ended and that file was made from the whole log (it says from how
many bytes), and otherwise from the log itself, `records.jsonl`.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import DamagedFile
from analysis.run_folder import ENDED, Run
from experiments.runs.format import (
    MADE_FROM,
    RECORD_COLUMNS,
    RECORD_SCHEMA,
    RECORD_TEXTS,
    RECORDS_LOG,
    RECORDS_TABLE,
    DamagedLog,
    log_to_table,
)


def records_of(run: Run) -> pa.Table:
    """The table of RECORD_COLUMNS, in the order of the log; texts are dictionaries. Raises DamagedFile."""
    log = run.folder / RECORDS_LOG
    if run.status.get("state") in ENDED and RECORDS_TABLE in run.files:
        table = _from_parquet(run, log.stat().st_size if RECORDS_LOG in run.files else None)
        if table is not None:
            return table
    if RECORDS_LOG not in run.files:
        return RECORD_SCHEMA.empty_table()
    try:
        content = log.read_bytes()
    except OSError as error:
        raise DamagedFile(f"{log} cannot be read: {error.strerror}") from error
    try:
        return log_to_table(content, run.fields)
    except DamagedLog as error:
        raise DamagedFile(f"{log} is damaged in line {error.line}: {error}") from error


def _from_parquet(run: Run, log_bytes: int | None) -> pa.Table | None:
    """The compacted records; None where they were made from another state of the log (the run went on since)."""
    path = run.folder / RECORDS_TABLE
    try:
        with pq.ParquetFile(path, read_dictionary=RECORD_TEXTS) as file:
            made_from = (file.metadata.metadata or {}).get(MADE_FROM)
            if log_bytes is not None and (made_from is None or int(made_from) != log_bytes):
                return None
            table = file.read(columns=RECORD_COLUMNS, use_threads=False)
        return table.select(RECORD_COLUMNS).cast(RECORD_SCHEMA).replace_schema_metadata(None)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        cure = "" if log_bytes is None else "; delete it, and the run is read from its log records.jsonl"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFile(f"{path} is damaged{cure} ({reason})") from error
