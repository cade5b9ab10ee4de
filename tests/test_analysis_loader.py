"""Run folders written here by hand, by the description of their format alone, and read back."""

from __future__ import annotations

import ast
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis import load_arrays, load_runs, load_status
from analysis.errors import DamagedFile, WrongInput

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
    parquet: bool = False,
    config: dict[str, Any] | None = None,
    **status: Any,
) -> Path:
    """One run folder. `lines`: the log; values may be floats of any kind, written as the format says."""
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
    described = {"results_version": version, "identity": {}, "config": settings, "run": folder.name, "experiment": None}
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


# -------------------------------------------------------------------------------------------------------------- records


def test_the_log_and_its_parquet_give_the_same_table(tmp_path: Path) -> None:
    folder = write_run(tmp_path, lines=log())
    from_log = load_runs(tmp_path)
    write_parquet(folder)
    (folder / "fields.json").unlink()  # so it is known which of the two is read
    from_parquet = load_runs(tmp_path)
    pd.testing.assert_frame_equal(from_log, from_parquet, check_exact=True, check_categorical=False)
    expected = pd.DataFrame(rows_of(folder))
    for name in expected:
        np.testing.assert_array_equal(
            from_log[name].astype(object).where(from_log[name].notna(), None).to_numpy(),
            expected[name].astype(object).where(expected[name].notna(), None).to_numpy(),
        )


def test_columns_and_their_types(tmp_path: Path) -> None:
    write_run(tmp_path, lines=log(), parquet=True)
    write_run(tmp_path, "none", 1, lines=log(2), config={"optim": {"lr": 0.5, "schedule": {"name": "cosine"}}})
    runs = load_runs(tmp_path)
    texts = {
        "run",
        "experiment",
        "state",
        "data",
        "model",
        "norm",
        "optimiser",
        "loss_reduction",
        "schedule",
        "numerics",
    }
    texts |= {"probe", "metric", "batch", "point", "layer", "unit"}
    numbers = {"diverged_at", "lr", "batch_size", "weight_decay", "seed", "steps", "step", "x", "value"}
    assert set(runs.columns) == texts | numbers
    assert {name for name in runs if isinstance(runs[name].dtype, pd.CategoricalDtype)} == texts
    for name in ("seed", "steps", "batch_size", "step"):
        assert runs[name].dtype == np.int64, name
    assert runs.experiment.isna().all()
    assert set(zip(runs.norm, runs.lr, runs.schedule, strict=True)) == {
        ("batch", 0.1, "constant"),
        ("none", 0.5, "cosine"),
    }
    assert set(runs.numerics) == {"exact"}
    assert set(runs.loss_reduction) == {"mean"}


def test_layers_and_x_become_rows(tmp_path: Path) -> None:
    write_run(tmp_path, lines=log(1))
    runs = load_runs(tmp_path)
    band = runs[(runs.metric == "band")]
    assert list(zip(band.layer, band.x, strict=True)) == [(n, x) for n in ("conv1", "head") for x in (0.5, 1.0, 4.0)]
    np.testing.assert_array_equal(band.value, [0.5, 1e-300, 2.0, 3.0, math.nan, math.inf])
    norms = runs[runs.metric == "gradient_norm"]
    assert list(norms.layer) == ["conv1", "head"]
    assert norms.x.isna().all()
    assert list(norms.value) == [1.0, -math.inf]
    along = runs[runs.metric == "loss_along"]
    assert list(along.x) == [0.5, 4.0]
    assert along.layer.isna().all()


@pytest.mark.parametrize("parquet", [False, True])
def test_non_finite_and_extreme_numbers_round_trip(tmp_path: Path, parquet: bool) -> None:
    numbers = [math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, -0.0]
    lines = [{"step": i, "probe": "training", "values": {"loss": x}} for i, x in enumerate(numbers)]
    write_run(tmp_path, lines=lines, parquet=parquet)
    assert load_runs(tmp_path).value.to_numpy().tobytes() == np.array(numbers).tobytes()


def test_a_running_run_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path, lines=log(3), state="running")
    whole = load_runs(tmp_path)
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"step": 3, "probe": "trai')
    pd.testing.assert_frame_equal(load_runs(tmp_path), whole)


def test_a_parquet_of_an_older_log_is_not_used(tmp_path: Path) -> None:
    folder = write_run(tmp_path, lines=log(2), parquet=True)
    with (folder / "records.jsonl").open("a") as file:
        file.write(json.dumps({"step": 2, "probe": "training", "values": {"loss": 0.25}}) + "\n")
    assert load_runs(tmp_path).step.max() == 2
    status = json.loads((folder / "status.json").read_text())
    write_parquet(folder)
    (folder / "status.json").write_text(json.dumps({**status, "state": "running"}))
    (folder / "records.parquet").write_bytes(b"rubbish")  # a run that goes on is read from its log alone
    assert load_runs(tmp_path).step.max() == 2


def test_a_run_without_records_yet_has_no_rows(tmp_path: Path) -> None:
    folder = write_run(tmp_path, state="running")
    for name in ("records.jsonl", "fields.json", "status.json"):
        (folder / name).unlink()
    runs = load_runs(tmp_path)
    assert len(runs) == 0
    assert runs.value.dtype == np.float64
    assert list(load_status(tmp_path).state) == ["not started"]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (("config.json", "{"), "config.json is damaged"),
        (("config.json", "[]"), "config.json is damaged"),
        (("config.json", '{"run": "a", "results_version": 1, "config": {}}'), "lacks the key data.name"),
        (("status.json", ""), "status.json is damaged"),
        (("fields.json", '{"training": {"loss": {}}}'), "fields.json is damaged"),
        (("fields.json", "{}"), "records.jsonl is damaged in line 1"),
        (("records.jsonl", '{"step": 0, "probe": "training", "values": {"loss": 1}}\n{"st\n'), "in line 2"),
        (("records.jsonl", '{"step": 0, "probe": "training", "values": {"loss": null}}\n'), "in line 1"),
        (("records.jsonl", '{"step": 0, "probe": "training", "values": {"loss": "0.5"}}\n'), "in line 1"),
        (("records.jsonl", '{"step": 0, "probe": "training", "values": {"loss": true}}\n'), "in line 1"),
        (("records.jsonl", '{"step": 0, "probe": "landscape", "values": {"norms": [1]}}\n'), "in line 1"),
        (("records.jsonl", '{"step": 0, "probe": "landscape", "values": {"norms": [1, [2]]}}\n'), "in line 1"),
        (("records.jsonl", '{"step": "0", "probe": "training", "values": {"loss": 1}}\n'), "in line 1"),
        (("records.jsonl", '{"step": 0, "probe": "training", "values": {"los": 1}}\n'), "in line 1"),
        (("records.jsonl", '{"step": 0, "probe": "training", "values": 3}\n'), "in line 1"),
        (("records.jsonl", "\n"), "in line 1"),
        (("records.jsonl", "\udcff\n"), "in line 1"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, damage: tuple[str, str], named: str) -> None:
    folder = write_run(tmp_path, lines=log())
    (folder / damage[0]).write_text(damage[1], errors="surrogateescape")
    with pytest.raises(DamagedFile, match=named) as caught:
        load_runs(tmp_path)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", [0, 7, 0.5])
def test_a_damaged_parquet_says_that_the_log_can_be_read(tmp_path: Path, cut: float) -> None:
    folder = write_run(tmp_path, lines=log(), parquet=True)
    content = (folder / "records.parquet").read_bytes()
    (folder / "records.parquet").write_bytes(content[: int(cut * len(content)) if cut < 1 else int(cut)])
    with pytest.raises(DamagedFile, match=r"records\.parquet is damaged; delete it, and the run is read from its log"):
        load_runs(tmp_path)
    (folder / "records.parquet").unlink()
    assert len(load_runs(tmp_path)) > 0


def test_a_parquet_without_a_column_is_damaged(tmp_path: Path) -> None:
    folder = write_run(tmp_path, lines=log(), parquet=True)
    table = pq.read_table(folder / "records.parquet")
    pq.write_table(table.drop_columns("unit"), folder / "records.parquet")
    with pytest.raises(DamagedFile, match=r"records\.parquet is damaged"):
        load_runs(tmp_path)


# ---------------------------------------------------------------------------------------------------------- which runs


def test_paths(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a", lines=log()), write_run(tmp_path / "b", "none", lines=log())
    (tmp_path / "a" / "figures").mkdir()
    (tmp_path / "a" / "note.txt").write_text("")
    assert set(load_runs(tmp_path / "a").run) == {first.name}
    assert set(load_runs(str(first)).run) == {first.name}
    assert set(load_runs([tmp_path / "a", first, second]).run) == {first.name, second.name}
    with pytest.raises(WrongInput, match=r"no such folder: .*nowhere"):
        load_runs(tmp_path / "nowhere")
    with pytest.raises(WrongInput, match="not a folder"):
        load_runs(tmp_path / "a" / "note.txt")
    with pytest.raises(WrongInput, match="no runs in"):
        load_runs(tmp_path)
    write_run(tmp_path / "c", lines=log())
    with pytest.raises(WrongInput, match="the same run"):
        load_runs([tmp_path / "a", tmp_path / "c"])


def test_runs_of_different_versions_are_not_mixed(tmp_path: Path) -> None:
    write_run(tmp_path, lines=log())
    newer = write_run(tmp_path, seed=1, lines=log(), version=2)
    with pytest.raises(WrongInput, match="versions of the results, 1 and 2") as caught:
        load_runs(tmp_path)
    assert "\n" not in str(caught.value)
    assert set(load_runs(tmp_path, results_version=1).seed) == {0}
    assert set(load_runs(newer).seed) == {1}
    with pytest.raises(WrongInput, match="results version 3"):
        load_runs(tmp_path, results_version=3)
    assert list(load_status(tmp_path).results_version) == [1, 2]


def test_further_columns(tmp_path: Path) -> None:
    write_run(tmp_path, lines=log(), config={"norm": {"name": "l1", "centered": True, "eps": 1e-5}})
    write_run(tmp_path, seed=1, lines=log())
    runs = load_runs(tmp_path, columns=["norm.centered", "norm.eps"])
    by_seed = runs.groupby("seed").first()
    assert by_seed["norm.centered"].tolist()[0] == "true"
    assert by_seed["norm.centered"].isna().tolist() == [False, True]
    assert by_seed["norm.eps"].tolist()[0] == 1e-5
    with pytest.raises(WrongInput, match=r"'norm.centred'; did you mean 'norm.centered'\?"):
        load_runs(tmp_path, columns=["norm.centred"])


def test_status(tmp_path: Path) -> None:
    write_run(tmp_path, lines=log(3), state="diverged", message="loss is not finite", diverged_at=3)
    write_run(tmp_path, seed=1, lines=log(2), state="running")
    write_run(tmp_path, seed=2)
    (tmp_path / "digits-vgg_small-batch-lr0.1-seed2" / "status.json").write_text("{")
    status = load_status(tmp_path)
    assert list(status.state) == ["diverged", "running", "damaged"]
    assert status.step.tolist()[:2] == [2, 1]
    assert status.diverged_at.tolist()[0] == 3
    assert math.isnan(status.diverged_at.tolist()[1])
    assert status.message.tolist()[0] == "loss is not finite"
    assert pd.isna(status.message.tolist()[1])
    assert "status.json is damaged" in status.message.tolist()[2]
    assert load_runs(tmp_path / "digits-vgg_small-batch-lr0.1-seed0").diverged_at.unique() == [3.0]


# --------------------------------------------------------------------------------------------------------------- arrays


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


@pytest.mark.parametrize("merged", [False, True])
def test_arrays(tmp_path: Path, merged: bool) -> None:
    written = {}
    for norm, seed in (("none", 0), ("batch", 0), ("batch", 1)):
        folder = write_run(tmp_path, norm, seed, lines=log(1))
        written[norm, seed] = write_arrays(folder, range(0, 300, 100), merged=merged, seed=seed)
    arrays = load_arrays("histogram", tmp_path)
    assert len(arrays) == 3
    for array in arrays:
        assert array.dims == ("step", "layer", "bin")
        assert list(array.step.values) == [0, 100, 200]
        assert list(array.layer.values) == ["conv1", "head"]
        np.testing.assert_array_equal(array, written[array.attrs["norm"], array.attrs["seed"]]["histogram"])
    chosen = arrays.where(norm="batch", seed=1)
    assert len(chosen) == 1
    assert int(chosen[0].sel(step=100, layer="head").sum()) == written["batch", 1]["histogram"][1, 1].sum()
    moments = load_arrays("unit_mean", tmp_path, probe="activations")[0]
    assert moments.dims == ("step", "unit")
    assert moments.dtype == np.float32
    assert moments.attrs["reference"] == "figure 8"
    assert moments.attrs["unit"] == "1"
    assert moments.attrs["point"] == "after"
    with pytest.raises(WrongInput, match="where"):
        arrays.where(nrom="batch")


def test_arrays_of_a_run_that_went_on_after_its_end(tmp_path: Path) -> None:
    folder = write_run(tmp_path, lines=log(1))
    first = write_arrays(folder, range(2), merged=True)["histogram"]
    second = write_arrays(folder, range(2, 4), merged=False, seed=1)["histogram"]
    array = load_arrays("histogram", folder)[0]
    assert list(array.step.values) == [0, 1, 2, 3]
    np.testing.assert_array_equal(array, np.concatenate([first, second]))


def one_array(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    return {f"activations/{name}/values": values, f"activations/{name}/steps": np.array([0])}


def test_arrays_are_lazy_and_damage_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path, lines=log(1))
    (folder / "arrays.npz").write_bytes(b"PK\x03\x04 cut")
    arrays = load_arrays("histogram", tmp_path)  # nothing read yet
    assert list(arrays.entries.norm) == ["batch"]
    with pytest.raises(DamagedFile, match=r"arrays\.npz is damaged"):
        arrays[0]
    np.savez(folder / "arrays.npz", **one_array("histogram", np.array([{"a": 1}], dtype=object)))
    with pytest.raises(DamagedFile, match=r"arrays\.npz is damaged"):
        arrays[0]
    np.savez(folder / "arrays.npz", **one_array("histogram", np.zeros((1, 3, 5))))
    with pytest.raises(DamagedFile, match="does not fit"):
        arrays[0]
    np.savez(folder / "arrays.npz", **one_array("histogram", np.zeros((1, 5))))
    with pytest.raises(DamagedFile, match="shapes"):
        arrays[0]
    np.savez(folder / "arrays.npz", **one_array("other", np.zeros((1, 5))))
    assert arrays[0].shape == (0, 0, 0)


def test_unknown_arrays(tmp_path: Path) -> None:
    write_run(tmp_path, lines=log(1))
    with pytest.raises(WrongInput, match=r"'histogrm'.*did you mean 'histogram'\?"):
        load_arrays("histogrm", tmp_path)
    with pytest.raises(WrongInput, match="lies in the records"):
        load_arrays("accuracy", tmp_path)
    with pytest.raises(WrongInput, match="of probe 'ics': no arrays"):
        load_arrays("histogram", tmp_path, probe="ics")


# -------------------------------------------------------------------------------------------------------- room and size


def test_the_room_imports_neither_torch_nor_what_trains() -> None:
    files = sorted(Path(analysis.__file__).parent.rglob("*.py"))
    assert len(files) > 3
    allowed = {
        "analysis",
        "numpy",
        "pandas",
        "scipy",
        "matplotlib",
        "pyarrow",
        "xarray",
        "jinja2",
        "markupsafe",
        *sys.stdlib_module_names,
    }
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert {name.partition(".")[0] for name in names} <= allowed, path


def test_importing_the_room_is_cheap_and_torch_stays_out(tmp_path: Path) -> None:
    write_run(tmp_path, lines=log(1))
    code = (
        "import sys, analysis; assert 'pandas' not in sys.modules; "
        f"analysis.load_runs({str(tmp_path)!r}); assert not {{'torch', 'experiments', 'probes'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=Path(analysis.__file__).parents[1])


def measure_many_runs(parent: Path, count: int, steps: int) -> tuple[float, int]:
    """Seconds to load `count` ended runs, and rows in the table. Copies of one run's records under other configs."""
    pattern = write_run(parent / "pattern", lines=log(steps), parquet=True)
    for number in range(count):
        folder = write_run(parent / "runs", ("none", "batch", "l1")[number % 3], number)
        for name in ("records.jsonl", "records.parquet"):
            (folder / name).unlink(missing_ok=True)
            os.link(pattern / name, folder / name)
    start = time.perf_counter()
    runs = load_runs(parent / "runs")
    return time.perf_counter() - start, len(runs)


@pytest.mark.long
def test_a_thousand_runs_load_in_seconds_and_below_2_gib(tmp_path: Path) -> None:
    seconds, rows = measure_many_runs(tmp_path, 1000, 560)
    assert rows > 5_000_000
    assert seconds < 20
    code = (
        "import resource, sys; from analysis import load_runs; load_runs(sys.argv[1]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "runs")]
    peak = subprocess.run(command, check=True, capture_output=True, cwd=Path(analysis.__file__).parents[1]).stdout
    assert int(peak) < 2048


def test_loading_many_runs_stays_cheap_per_run(tmp_path: Path) -> None:
    seconds, rows = measure_many_runs(tmp_path, 40, 100)
    assert rows == 40 * (100 * 4 + 50 * 10)
    assert seconds < 2
