"""Records as a table and as a run folder; what a checkpoint would forget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import experiments
from analysis import load_arrays, load_runs
from experiments.errors import WrongInput
from probes import Activations, Gradients, Landscape, Objective, ProbeError, Probes
from tests.runs import small
from tests.test_guards import own_norm


def probed() -> Probes:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    batch = torch.randn(8, 6), torch.randint(3, (8,))
    chosen = {"l": Landscape(multiples=(0.5, 1.0)), "g": Gradients(), "a": Activations(batches=("train",), bins=3)}
    probes = Probes(network, Objective(nn.functional.cross_entropy), chosen, batch, learning_rate=0.1, every=2)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(5):
        with probes.around(step, batch):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(batch[0]), batch[1]).backward()
            optimiser.step()
    return probes


def test_the_table_has_every_number_once_and_a_saved_run_is_read_as_the_same_table(tmp_path: Path) -> None:
    probes = probed()
    table = pd.DataFrame(probes.table())
    numbers = [v for _, _, values in probes.records for k, v in values.items()]
    fields = [probes.fields()[p][k] for p, _, values in probes.records for k in values]
    expected = [
        x for v, f in zip(numbers, fields, strict=True) if set(f["dims"]) <= {"layer", "x"} for x in v.flatten()
    ]
    assert table.value.tolist() == pytest.approx([float(x) for x in expected], nan_ok=True)
    here = table[(table.probe == "l") & (table.metric == "landscape_loss") & (table.step == 4)]
    assert here.x.tolist() == [0.5, 1.0]
    own = next(values for probe, step, values in probes.records if (probe, step) == ("l", 4))
    assert here.value.tolist() == own["landscape_loss"].tolist()

    path = probes.save(tmp_path / "mine" / "first", norm="none", lr=0.1, seed=3)
    read = load_runs(tmp_path / "mine")
    for column in ("step", "probe", "metric", "batch", "point", "value", "unit"):
        assert read[column].tolist() == pytest.approx(table[column].tolist(), nan_ok=True), column
    assert set(read.run) == {"first"}
    assert (set(read.norm), set(read.lr), set(read.seed), set(read.state)) == ({"none"}, {0.1}, {3}, {"finished"})
    histograms = load_arrays("histogram_before_normalisation", path)
    assert len(histograms[0]) == 3
    with pytest.raises(WrongInput, match="holds a run already"):
        probes.save(path)
    with pytest.raises(WrongInput, match="save, nrom=l1: did you mean 'norm'"):
        probes.save(tmp_path / "other", nrom="l1")
    probes.records.clear()
    with pytest.raises(ProbeError, match="nothing is in records"):
        probes.save(tmp_path / "empty")


def test_saving_where_nothing_is_installed_that_writes_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ())
    with pytest.raises(ProbeError, match=r"^save: no installed package writes run folders; install the suite"):
        probed().save(tmp_path / "mine")


# ---- what a checkpoint would forget

KEPT = {
    "a counter": ("self.seen = getattr(self, 'seen', 0) + 1\nreturn y * (1 + 0.1 * self.seen)", "seen"),
    "an average": (
        "mean = getattr(self, 'mean', 0)\nif self.training: self.mean = mean + y.detach()[0]\nreturn y - 0.1 * mean",
        "mean",
    ),
    "a list": ("self.all = getattr(self, 'all', [])\nself.all.append(1.0)\nreturn y * len(self.all)", "all"),
}
FORGOTTEN = {
    "a cached activation": "self.last = torch.tanh(y)\nreturn self.last",
    "a flag": "self.ready = True\nreturn y",
    "nothing": "return torch.tanh(y)",
}


def train(tmp_path: Path, body: str, *overrides: str) -> Any:
    return experiments.run(small(tmp_path / "runs", *own_norm(tmp_path, body), *overrides))


@pytest.mark.parametrize("kind", list(KEPT))
def test_a_users_module_that_keeps_values_outside_buffers_is_told_at_the_first_checkpoint(
    tmp_path: Path, kind: str
) -> None:
    body, name = KEPT[kind]
    with pytest.raises(WrongInput, match=f"Own at 'fc1.norm': its attribute {name!r} changes .* keep it in a buffer"):
        train(tmp_path, body)


@pytest.mark.parametrize("kind", list(FORGOTTEN))
def test_what_every_pass_makes_anew_may_stand_in_an_attribute(tmp_path: Path, kind: str) -> None:
    assert train(tmp_path, FORGOTTEN[kind]).state == "finished"


def test_a_norm_that_asks_whether_gradients_are_on_is_refused_by_name(tmp_path: Path) -> None:
    for body in (
        "return y * (2.0 if torch.is_grad_enabled() else 1.0)",
        "return y - y.mean(0) if self.training or torch.is_grad_enabled() else y",
    ):
        with pytest.raises(WrongInput, match=r"Own at 'fc1.norm': gives other values with gradients than without"):
            train(tmp_path / str(len(body)), body)
