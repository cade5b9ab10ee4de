"""Values of a configuration are of their own type in every table."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis import load_runs
from analysis.__main__ import main
from analysis.sweep import Sweep
from tests.made_runs import log, write_run

TYPED = {  # values of one option, run by run, and what they are in a table
    "boolean": ([True, False, True], "bool", [True, False, True]),
    "boolean missing in some": ([True, None, False], "boolean", [True, None, False]),
    "whole": ([1, 2, 2**53 + 1], "int64", [1, 2, 2**53 + 1]),
    "number": ([1, 0.5, 1e-5], "float64", [1.0, 0.5, 1e-5]),
    "whole missing in some": ([1, None, 3], "float64", [1.0, None, 3.0]),
    "missing": ([None, None, None], "float64", [None, None, None]),
    "text": (["true", None, "1"], "category", ["true", None, "1"]),
    "list": ([[1, 2], [], None], "category", ["[1, 2]", "[]", None]),
    "several types": ([True, 1, "all"], "category", ["true", "1", "all"]),
    "group": ([{"name": "cosine"}, {"floor": 0.1}, "step"], "category", ["cosine", '{"floor": 0.1}', "step"]),
}


@pytest.mark.parametrize("case", list(TYPED))
def test_values_of_the_configuration_keep_their_types_in_every_table(case: str, tmp_path: Path) -> None:
    values, dtype, expected = TYPED[case]
    for seed, value in enumerate(values):
        write_run(tmp_path / "runs", seed=seed, lines=log(1), config={"norm": {"option": value}})
    runs = load_runs(tmp_path / "runs", columns=["norm.option"]).groupby("seed").head(1)
    assert str(runs["norm.option"].dtype) == dtype
    assert runs["norm.option"].astype(object).where(runs["norm.option"].notna(), None).tolist() == expected
    files = [tmp_path / "table.parquet", tmp_path / "table.csv"]
    for file in files:
        assert main(["table", str(tmp_path / "runs"), str(file), "--column", "norm.option"]) == 0
    stored = pq.read_table(files[0])["norm.option"].to_pylist()
    assert [stored[i] for i in range(0, len(stored), len(stored) // 3)] == expected
    frame = pd.read_csv(files[1], keep_default_na=False).groupby("seed").first()
    told = {True: "true", False: "false", None: ""}
    wanted = [told[value] if value is None or isinstance(value, bool) else value for value in expected]
    if dtype in ("int64", "float64"):
        assert pd.to_numeric(frame["norm.option"]).fillna(-1).tolist() == [-1 if v == "" else v for v in wanted]
    else:
        assert frame["norm.option"].map(lambda value: str(value).lower()).tolist() == list(map(str, wanted))


def test_options_that_tell_settings_apart_keep_their_types(tmp_path: Path) -> None:
    for place, options in enumerate([{"tied": True, "depth": 3, "widths": [1, 2]}, {"tied": False, "widths": [3]}]):
        folder = write_run(tmp_path / str(place), lines=log(1), config={"model": options})
        described = json.loads((folder / "config.json").read_text()) | {"run": f"run-{place}"}
        (folder / "config.json").write_text(json.dumps(described))
    table = Sweep.load([tmp_path / "0", tmp_path / "1"]).table()
    options = table[["model.tied", "model.depth", "model.widths", "steps"]]
    types = {name: str(dtype) for name, dtype in options.dtypes.items()}
    assert types == {"model.tied": "bool", "model.depth": "float64", "model.widths": "category", "steps": "int64"}
    assert options["model.widths"].tolist() == ["[1, 2]", "[3]"]
