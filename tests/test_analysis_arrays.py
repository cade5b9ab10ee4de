"""Arrays of run folders that were written by hand, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import experiments
from analysis import load_arrays
from analysis.errors import DamagedFile, WrongInput
from analysis.runs import Runs
from analysis.select import settings
from tests.made_runs import log, write_arrays, write_run
from tests.runs import small


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


def test_a_folder_that_was_kept_without_its_arrays_gives_figures_none(tmp_path: Path) -> None:
    kept, gone = (
        experiments.run(small(tmp_path, f"seed={seed}", "norm=batch", "probes=activations", "probes.every=2")).path
        for seed in (1, 0)
    )
    (gone / "arrays.npz").unlink()
    runs = Runs.load(tmp_path)
    metric, names = "unit_mean_before_normalisation", [kept.name, gone.name]
    found = runs.arrays(metric, names, "train", ["fc1", "fc2"])
    assert set(found) == {(kept.name, "fc1"), (kept.name, "fc2")}
    assert all(array.size for array in found.values())
    (setting,) = settings(runs)
    (name,) = setting.names
    standing = setting.lowest_seed(name)
    assert standing is not None
    assert standing["run"] == kept.name


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
