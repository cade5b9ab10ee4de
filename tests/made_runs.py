"""Run folders written by hand, by the description of their format alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TRAINING = {
    "loss": ("loss", "nats", "train", "before"),
    "data_loss": ("data_loss", "nats", "train", "before"),
    "accuracy": ("accuracy", "fraction", "train", "before"),
    "test_data_loss": ("data_loss", "nats", "test", "before"),
    "test_accuracy": ("accuracy", "fraction", "test", "before"),
}


def field(metric: str, unit: str, batch: str, point: str, dims: list[str] | None = None, **more: Any) -> dict[str, Any]:
    described = {"metric": metric, "dims": dims or [], "unit": unit, "batch": batch, "point": point}
    return {**described, "layer": None, "x": None, "reference": "", **more}


FIELDS = {
    "training": {key: field(*spec) for key, spec in TRAINING.items()},
    "landscape": {
        "band": field("band", "nats", "train", "along", ["layer", "x"], layer=["conv1", "head"], x=[0.5, 1.0, 4.0]),
        "norms": field("gradient_norm", "1", "train", "before", ["layer"], layer=["conv1", "head"]),
        "losses": field("loss_along", "nats", "train", "along", ["x"], x=[0.5, 4.0]),
    },
    "activations": {
        "histogram": field("histogram", "count", "fixed", "before", ["layer", "bin"], layer=["conv1", "head"]),
        "moments": field("unit_mean", "1", "fixed", "after", ["unit"], reference="figure 8"),
    },
}
PLAIN = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def write_run(
    parent: Path,
    norm: str = "batch",
    seed: int = 0,
    *,
    lines: list[dict[str, Any]] | None = None,
    state: str = "finished",
    version: int = 1,
    common: int | None = None,
    parquet: bool = False,
    config: dict[str, Any] | None = None,
    task: str | None = None,
    defaults: dict[str, Any] | None = None,
    **status: Any,
) -> Path:
    """One run folder. `lines`: the log; values may be floats of any kind, written as the format says.

    `task`: of the specification of its data (None: by its name); `defaults`: options of its groups, dotted, and what
    they are by default.
    """
    settings: dict[str, Any] = {
        "data": {"name": "digits", "label": "digits"},
        "model": {"name": "vgg_small"},
        "norm": {"name": norm},
        "optim": {
            "name": "sgd",
            "lr": 0.1,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "batch_size": 64,
            "schedule": "constant",
            "loss": "mean",
        },
        "seed": seed,
        "steps": 400,
        "device": "cpu",
        "threads": 1,
        "numerics": {"name": "exact"},
        "evaluation": {"every": 1},
    }
    for key, value in (config or {}).items():
        settings[key] = {**settings[key], **value} if isinstance(value, dict) and key in settings else value
    lr = settings["optim"]["lr"]
    folder = parent / f"{settings['data']['name']}-{settings['model']['name']}-{norm}-lr{lr}-seed{seed}"
    folder.mkdir(parents=True)
    task = task or ("regression" if settings["data"]["name"] == "gaussian" else "classification")
    described = {"results_version": version, "identity": {}, "config": settings, "run": folder.name, "experiment": None}
    described |= {"spec": {"task": task}, "defaults": defaults or {}}
    described |= {} if common is None else {"common_version": common}
    (folder / "config.json").write_text(json.dumps(described))
    lines = [] if lines is None else lines
    last = lines[-1]["step"] if lines else 0
    started = {"state": state, "step": last, "steps": settings["steps"], "heartbeat": 1.7e9, "host": "h", "pid": 1}
    (folder / "status.json").write_text(
        json.dumps({**started, "message": None, "diverged_at": None, "final": None, **status})
    )
    (folder / "fields.json").write_text(json.dumps(FIELDS))
    (folder / "records.jsonl").write_text("".join(json.dumps(finite(line)) + "\n" for line in lines))
    if parquet:
        write_parquet(folder)
    return folder


def finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The log of a run in long form, number by number."""
    rows = []
    for line in (folder / "records.jsonl").read_text().splitlines():
        entry = json.loads(line)
        for key, value in entry["values"].items():
            spec = FIELDS[entry["probe"]][key]
            for i, layer in enumerate(spec["layer"] or [None]):
                for j, x in enumerate(spec["x"] or [None]):
                    cell = value
                    cell = cell[i] if layer is not None else cell
                    cell = cell[j] if x is not None else cell
                    rows.append(
                        {
                            "step": entry["step"],
                            "probe": entry["probe"],
                            **{name: spec[name] for name in ("metric", "batch", "point")},
                            "layer": layer,
                            "x": x,
                            "value": PLAIN[cell] if isinstance(cell, str) else float(cell),
                            "unit": spec["unit"],
                        }
                    )
    return rows


def write_parquet(folder: Path) -> None:
    names = ["step", "probe", "metric", "batch", "point", "layer", "x", "value", "unit"]
    kinds = {"step": pa.int64(), "x": pa.float64(), "value": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
    table = pa.Table.from_pylist(rows_of(folder), schema=schema)
    size = str((folder / "records.jsonl").stat().st_size)
    pq.write_table(table.replace_schema_metadata({"records_bytes": size}), folder / "records.parquet")


def log(steps: int = 4, start: float = 1.0) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(steps):
        loss = start / (step + 1)
        values = {
            "loss": loss,
            "accuracy": 1 - loss,
            "test_data_loss": loss + 0.1,
            "test_accuracy": 0.5,
        }
        lines.append({"step": step, "probe": "training", "values": values})
        if step % 2 == 0:
            band = [[step + 0.5, 1e-300, 2.0], [3.0, math.nan, math.inf]]
            values = {"band": band, "norms": [1.0, -math.inf], "losses": [0.1, 0.2]}
            lines.append({"step": step, "probe": "landscape", "values": values})
    return lines


def write_arrays(folder: Path, steps: range, *, merged: bool, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    histogram = generator.integers(0, 9, (len(steps), 2, 5))
    moments = generator.normal(size=(len(steps), 3)).astype(np.float32)
    chunks = {
        step: {"activations/histogram": histogram[i], "activations/moments": moments[i]} for i, step in enumerate(steps)
    }
    if merged:
        np.savez(
            folder / "arrays.npz",
            **{f"activations/{name}/values": v for name, v in (("histogram", histogram), ("moments", moments))},
            **{f"activations/{name}/steps": np.array(steps) for name in ("histogram", "moments")},
        )
    else:
        (folder / "arrays").mkdir()
        for step, chunk in chunks.items():
            np.savez(folder / "arrays" / f"step-{step:08d}.npz", **chunk)
    return {"histogram": histogram, "unit_mean": moments}
