"""Run folders that were written by hand, read back as tables: records, states, and how cheaply."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

import analysis
from analysis import load_runs, load_status
from analysis.__main__ import main
from analysis.errors import DamagedFile, WrongInput
from tests.made_runs import log, rows_of, write_arrays, write_parquet, write_run

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
        "task",
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
        load_runs(tmp_path / "a" / "figures")
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


def test_a_version_is_that_of_each_model(tmp_path: Path) -> None:
    """A change that touches one model raises the version of its results alone; one of all outdates what was before."""
    made = [("mlp", 2, None), ("deep_linear", 3, 2), ("deep_linear", 1, None), ("mlp", 4, 4), ("mlp", 1, None)]
    for seed, (model, version, common) in enumerate(made):
        named = {"model": {"name": model}}
        write_run(tmp_path / str(seed), seed=seed, lines=log(), version=version, common=common, config=named)
    seeds = [str(tmp_path / str(seed)) for seed in range(5)]
    assert set(load_runs(seeds[:2]).seed) == {0, 1}
    assert set(load_runs(seeds[:2], results_version=3).seed) == {0, 1}
    for wanted, found in ((1, {2, 4}), (2, {0}), (3, {0, 1}), (4, {3})):
        assert set(load_runs(seeds, results_version=wanted).seed) == found
    for some in ((1, 2), (1, 4), (1, 3), (0, 4)):  # of one model; an older one, or a newer one, of another
        with pytest.raises(WrongInput, match="are not comparable"):
            load_runs([seeds[seed] for seed in some])


def test_further_columns(tmp_path: Path) -> None:
    write_run(tmp_path, lines=log(), config={"norm": {"name": "l1", "centered": True, "eps": 1e-5}})
    write_run(tmp_path, seed=1, lines=log())
    runs = load_runs(tmp_path, columns=["norm.centered", "norm.eps"])
    by_seed = runs.groupby("seed").first()
    assert by_seed["norm.centered"].tolist()[0] is True
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


# -------------------------------------------------------------------------------------------------------- room and size


def test_importing_the_room_is_cheap_and_torch_stays_out(tmp_path: Path) -> None:
    write_run(tmp_path, lines=log(1))
    code = (
        "import sys, analysis; assert 'pandas' not in sys.modules; "
        f"analysis.load_runs({str(tmp_path)!r}); assert not {{'torch', 'probes', 'hydra'}} & set(sys.modules)"
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


_OPENED: list[str] | None = None  # where the hook below writes what is opened


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _OPENED is not None and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _OPENED.append(os.fsdecode(arguments[0]))


sys.addaudithook(_hear)  # once: it cannot be taken off again


@pytest.mark.parametrize(
    "command", [["status", "RUNS"], ["report", "RUNS"], ["table", "RUNS", "RUNS/../all.csv"], ["figures", "RUNS"]]
)
def test_no_file_of_a_run_is_opened_twice(tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        folder = write_run(tmp_path / "runs", "batch", seed, lines=log(), parquet=seed > 0)
        write_arrays(folder, range(0, 4, 2), merged=True, seed=seed)
    opened: list[str] = []
    real = pq.ParquetFile

    def parquet(path: Path, **options: Any) -> pq.ParquetFile:
        opened.append(str(path))  # Arrow opens files without Python
        return real(path, **options)

    def empty(self: Figure, target: Any, **_: Any) -> None:
        target.write(b"") if hasattr(target, "write") else Path(target).touch()

    monkeypatch.setattr("analysis.records.pq.ParquetFile", parquet)
    monkeypatch.setattr(Figure, "savefig", empty)  # laying out and saving read nothing, and take most of the time
    monkeypatch.setattr("analysis.figures.lay_out", lambda figure: None)
    monkeypatch.setattr(f"{__name__}._OPENED", opened)
    assert main([part.replace("RUNS", str(tmp_path / "runs")) for part in command]) == 0
    monkeypatch.setattr(f"{__name__}._OPENED", None)
    times = Counter(path for path in opened if re.search(r"seed\d/[^/]+$", path))
    assert {Path(path).name for path in times} >= {"config.json", "status.json"}
    assert {path: count for path, count in times.items() if count > 1} == {}


def test_every_column_is_described(tmp_path: Path) -> None:
    write_run(tmp_path, lines=log())
    described = str(load_runs.__doc__).partition("Columns:")[2]
    assert [name for name in load_runs(tmp_path) if not re.search(rf"\b{name}\b", described)] == []
