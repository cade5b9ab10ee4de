"""Numbers and arrays survive the way to the disk and back, whatever they are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from analysis import load_arrays, load_runs
from experiments.errors import RunFailure
from experiments.runs.format import FieldDescription
from experiments.runs.records import RecordWriter

DESCRIBED = {
    "loss": FieldDescription("loss", "nats", "train", "along", dims=("x",), x=(0.5, 1.0)),
    "norm": FieldDescription("gradient_norm", "1", "train", "before", "", ("layer", "x"), ("a", "b"), (1.0,)),
    "histogram": FieldDescription("histogram", "count", "train", "before", "", ("layer", "bins"), ("a", "b")),
}
FIELDS = {"landscape": {key: described.to_json() for key, described in DESCRIBED.items()}}


def write_run(folder: Path) -> RecordWriter:
    folder.mkdir()
    return RecordWriter(folder, FIELDS)


def values(step: int) -> dict[str, torch.Tensor]:
    return {
        "loss": torch.tensor([math.nan, 0.1 + step], dtype=torch.float32),
        "norm": torch.tensor([[math.inf], [-math.inf]], dtype=torch.float64),
        "histogram": torch.arange(6, dtype=torch.int64).reshape(2, 3) + step,
    }


def test_log_lines_are_strict_json_and_exact(tmp_path: Path) -> None:
    records = write_run(tmp_path / "run")
    records.append("landscape", 3, values(3))
    records.end_step(3)
    records.close()
    (line,) = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    parsed = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert parsed["values"]["norm"] == [["inf"], ["-inf"]]
    assert parsed["values"]["loss"][0] == "nan"
    assert np.float32(parsed["values"]["loss"][1]) == np.float32(3.1)
    with np.load(tmp_path / "run" / "arrays" / "step-00000003.npz") as arrays:
        assert arrays["landscape/histogram"].tolist() == [[3, 4, 5], [6, 7, 8]]


def test_compaction_keeps_every_number_with_its_coordinates(tmp_path: Path) -> None:
    records = write_run(tmp_path / "run")
    for step in (0, 5):
        records.append("landscape", step, values(step))
        records.end_step(step)
    records.compact()
    records.close()
    table = pq.read_table(tmp_path / "run" / "records.parquet")
    rows = table.to_pylist()
    assert len(rows) == 2 * (2 + 2)
    row = next(r for r in rows if r["step"] == 5 and r["metric"] == "gradient_norm" and r["layer"] == "b")
    assert (row["x"], row["value"], row["point"], row["unit"]) == (1.0, -math.inf, "before", "1")
    assert table.schema.metadata[b"records_bytes"] == str((tmp_path / "run" / "records.jsonl").stat().st_size).encode()
    with np.load(tmp_path / "run" / "arrays.npz") as arrays:
        assert arrays["landscape/histogram/steps"].tolist() == [0, 5]
        assert arrays["landscape/histogram/values"][1, 1, 2] == 10
    assert not (tmp_path / "run" / "arrays").exists()


def test_opening_again_cuts_log_and_chunks_back_to_the_checkpoint(tmp_path: Path) -> None:
    records = write_run(tmp_path / "run")
    records.append("landscape", 0, values(0))
    records.end_step(0)
    length = records.sync()
    records.append("landscape", 5, values(5))
    records.end_step(5)
    records.close()
    again = RecordWriter(tmp_path / "run", FIELDS, keep_bytes=length, keep_before=5)
    assert again.bytes == length == (tmp_path / "run" / "records.jsonl").stat().st_size
    assert [f.name for f in (tmp_path / "run" / "arrays").iterdir()] == ["step-00000000.npz"]
    again.append("landscape", 5, values(5))
    again.close()
    assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 2


def test_a_damaged_array_file_is_named(tmp_path: Path) -> None:
    records = write_run(tmp_path / "run")
    records.append("landscape", 0, values(0))
    records.end_step(0)
    chunk = tmp_path / "run" / "arrays" / "step-00000000.npz"
    chunk.write_bytes(chunk.read_bytes()[:-30])
    with pytest.raises(RunFailure, match="an array file is damaged"):
        records.compact()
    records.close()


def test_analysis_reads_what_experiments_write(tmp_path: Path) -> None:
    """The one place where the two sides that know the run folder meet."""
    import experiments
    from tests.runs import small

    outcome = experiments.run(small(tmp_path, "norm=l1", "seed=3"))
    table = load_runs(tmp_path)
    losses = table[(table.metric == "data_loss") & (table.batch == "train")]
    logged = [json.loads(line) for line in (outcome.path / "records.jsonl").read_text().splitlines()]
    assert losses.step.tolist() == [0, 2, 4, 6]
    assert losses.value.tolist() == [line["values"]["data_loss"] for line in logged]
    assert set(table.norm) == {"l1"}
    assert set(table.seed) == {3}
    assert set(table.run) == {outcome.path.name}
    (outcome.path / "records.parquet").unlink()
    from_log = load_runs(tmp_path)
    assert from_log.astype(str).equals(table.astype(str))
    with pytest.raises(Exception, match="histogram"):
        load_arrays("histogram", tmp_path)


def test_status_tells_the_time_left_of_a_running_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import experiments
    from analysis import load_status
    from analysis.__main__ import main
    from tests.runs import small

    folder = experiments.run(small(tmp_path)).path
    status = json.loads((folder / "status.json").read_text())
    assert status["from_step"] == 0
    assert 0 < status["heartbeat"] - status["since"] < 60
    assert load_status(tmp_path).seconds_left.isna().all()
    running = {"state": "running", "step": 250, "steps": 1000, "from_step": 50, "since": 1000.0, "heartbeat": 1040.0}
    (folder / "status.json").write_text(json.dumps({**status, **running}))
    assert load_status(tmp_path).seconds_left.tolist() == [pytest.approx(150)]  # 750 steps at 5 per second
    assert main(["status", str(tmp_path)]) == 0
    assert "250/1000  5/s   2 min" in capsys.readouterr().out
