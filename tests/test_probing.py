"""Probes in a run: unnoticed by training, recorded, resumed, and put on afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import experiments
import experiments.errors
from analysis import load_runs
from experiments.errors import WrongInput
from tests.conftest import partly
from tests.runs import DEEP_LINEAR, MLP, VGG, checkpoint, differences, small
from tests.test_resume import NORMS

NETS = {"deep_linear": DEEP_LINEAR, "vgg": [*VGG, "model.dropout=0.3"], "mlp": MLP}
PROBES = ["probes=[landscape,ics,gradients]", "probes.every=3", "probes.fixed_batch=20"]
MATRIX = [(net, norm) for net in NETS for norm in NORMS]


@pytest.mark.parametrize(("net", "norm"), partly(MATRIX, 5))
def test_training_does_not_notice_the_probes(tmp_path: Path, net: str, norm: str) -> None:
    chosen = [*NETS[net], *f"norm={norm}".split(), "steps=8"]
    plain = experiments.run(small(tmp_path, *chosen)).path
    probed = experiments.run(small(tmp_path, *chosen, *PROBES)).path
    assert plain != probed
    one, other = checkpoint(plain), checkpoint(probed)
    for part in ("network", "optimiser", "generators"):
        assert differences(one[part], other[part], part) == []
    logs = [[json.loads(x) for x in (path / "records.jsonl").read_text().splitlines()] for path in (plain, probed)]
    assert [x for x in logs[1] if x["probe"] == "training"] == logs[0]
    assert {x["step"] for x in logs[1] if x["probe"] == "ics"} == {0, 3, 6}


def test_probing_again_at_kept_checkpoints_measures_what_the_run_would_have(tmp_path: Path) -> None:
    kept = experiments.run(small(tmp_path, *MLP, "norm=noisy_batch", "steps=8", "checkpoint.keep=[2,5]")).path
    during = experiments.run(small(tmp_path, *MLP, "norm=noisy_batch", "steps=8", *PROBES, "probes.at=[2,5]")).path
    again = experiments.run(small(tmp_path, *PROBES, f"probe_again={kept}"))
    table = load_runs(tmp_path).set_index("run")
    mine, theirs = (table.loc[path.name] for path in (again.path, during))
    theirs = theirs[theirs.probe != "training"]
    columns = ["step", "probe", "metric", "layer", "x", "value"]
    assert len(mine) > 50
    assert mine[columns].astype(str).to_numpy().tolist() == theirs[columns].astype(str).to_numpy().tolist()
    assert not experiments.run(small(tmp_path, *PROBES, f"probe_again={kept}")).trained
    with pytest.raises(WrongInput, match=r"kept steps of .* are \[2, 5\]"):
        experiments.run(small(tmp_path, *PROBES, f"probe_again={kept}", "probes.at=[3]"))
    with pytest.raises(WrongInput, match="needs probes"):
        experiments.run(small(tmp_path, f"probe_again={kept}"))
    with pytest.raises(WrongInput, match="kept no checkpoints"):
        experiments.run(small(tmp_path, *PROBES, f"probe_again={during}"))


def test_a_run_without_steps_is_looked_at_and_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    chosen = [*MLP, "norm=noisy_batch", "model.dropout=0.2"]
    chosen += ["probes=[gradients,activations,dynamics,spectrum]", "probes.every=2"]
    chosen += ["probes.use.spectrum.largest=1", "probes.use.spectrum.products=4"]
    outcome = experiments.run(small(tmp_path / "a", *chosen, "steps=0"))
    assert (outcome.state, outcome.step) == ("finished", 0)
    table = load_runs(outcome.path)
    assert set(table.step) == {0}
    assert {"gradients", "activations", "dynamics", "spectrum"} < set(table.probe)
    assert (table[table.metric == "relative_update"].value == 0).all()
    assert (table[(table.metric == "accuracy")].value >= 0).any()
    fresh = experiments.load_network(outcome.path)
    assert all(int(buffer) == 0 for name, buffer in fresh.named_buffers() if name.endswith("tracked"))
    assert not experiments.run(small(tmp_path / "a", *chosen, "steps=0")).trained
    untouched = json.loads((outcome.path / "status.json").read_text())["final"]["test_data_loss"]
    longer = experiments.run(small(tmp_path / "a", *chosen, "steps=5")).path
    whole = experiments.run(small(tmp_path / "b", *chosen, "steps=5")).path
    assert longer == outcome.path
    one, other = checkpoint(longer), checkpoint(whole)
    for part in ("network", "optimiser", "generators", "probes"):
        assert differences(one[part], other[part], part) == []
    assert (longer / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    lines = [json.loads(line) for line in (whole / "records.jsonl").read_text().splitlines()]
    first = next(line for line in lines if "test_data_loss" in line["values"])
    assert first["values"]["test_data_loss"] == untouched  # looking moved no running statistics
    scheduled = ["steps=0", "optim.schedule=cosine", "probes=gradients", "probes.spacing=log"]
    assert experiments.run(small(tmp_path / "c", *scheduled)).state == "finished"


OWN_PROBE = """
import torch
from probes import Before, Declaration, Field, Need
from probes.reductions import LossParts

class TwiceTheLoss:
    def __init__(self, *, factor: float = 2.0):
        self.factor = factor
    def declare(self, network):
        self.need = Need("train", Before(), LossParts())
        return Declaration((self.need,), {"twice": Field("twice", "nats", "own", "train", "before")})
    def measure(self, at):
        return {"twice": RETURNED}
"""


def own_probe(folder: Path, returned: str) -> str:
    (folder / "own.py").write_text(OWN_PROBE.replace("RETURNED", returned))
    return f"+probes.use.mine={{name: TwiceTheLoss, file: {folder}/own.py, factor: 2}}"


def test_a_users_own_probe_is_one_class_and_one_entry(tmp_path: Path) -> None:
    chosen = own_probe(tmp_path, "self.factor * at[self.need][0]")
    outcome = experiments.run(small(tmp_path / "runs", chosen, "probes.every=2"))
    table = load_runs(outcome.path)
    twice = table[table.metric == "twice"].set_index("step").value
    loss = table[(table.metric == "loss") & (table.batch == "train")].set_index("step").value
    assert (twice == 2 * loss.loc[twice.index]).all()


WRONG: dict[str, tuple[list[str], str]] = {
    "unknown probe": (["+probes.use.x={name: landscap}"], "probes.use.x.name=landscap: unknown probe; did you mean"),
    "unknown option": (["probes=landscape", "+probes.use.landscape.multiple=[1]"], "did you mean 'multiples'"),
    "wrong type": (["probes=landscape", "probes.use.landscape.random=many"], "random=many: must be a whole number"),
    "unknown layer": (["probes=ics", "probes.use.ics.layers=[conv9]"], "fc1"),
    "empty grid": (["probes=landscape", "probes.use.landscape.multiples=[]"], "multiples"),
    "unsorted grid": (["probes=landscape", "probes.use.landscape.multiples=[2,1]"], "multiples"),
    "past the end": (["probes=ics", "probes.at=[3,99]"], "past the end"),
    "unsorted schedule": (["probes=ics", "probes.at=[3,1]"], "ascending"),
    "fixed batch too large": (["probes=ics", "probes.fixed_batch=65"], "probes.fixed_batch=65: must be from 1 to 64"),
    "no name": (["+probes.use.x={limit: hessian}"], "must be a group of options with a name"),
    "every": (["probes=ics", "probes.every=0"], "probes.every=0: must be a whole number, at least 1"),
    "spacing": (["probes=ics", "probes.spacing=cubic"], "probes.spacing=cubic: "),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_input_is_refused_before_training_starts(tmp_path: Path, case: str) -> None:
    overrides, message = WRONG[case]
    with pytest.raises(WrongInput) as caught:
        experiments.run(small(tmp_path / "runs", *overrides))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("torch.zeros(3)", r"probe mine returned 'twice' of shape \(3,\), but declared \(\)"),
        ("'text'", "probe mine returned 'twice' of shape str"),
    ],
)
def test_a_users_probe_that_breaks_its_word_is_refused_before_training_starts(
    tmp_path: Path, returned: str, message: str
) -> None:
    with pytest.raises(WrongInput, match=message) as caught:
        experiments.run(small(tmp_path / "runs", own_probe(tmp_path, returned)))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_users_probe_that_fails_ends_the_run_in_one_line(tmp_path: Path) -> None:
    with pytest.raises((WrongInput, experiments.errors.RunFailure), match="nothing"):
        experiments.run(small(tmp_path / "runs", own_probe(tmp_path, "at.nothing")))


def test_a_network_whose_loss_is_not_deterministic_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import time\nfrom torch import nn\n\n\nclass Clock(nn.Module):\n"
        "    def __init__(self, layer):\n        super().__init__()\n"
        "    def forward(self, y):\n        return y * (1 + 1e-3 * (time.perf_counter_ns() % 1000))\n"
    )
    own = ["norm=none", "norm.name=Clock", f"norm.file={tmp_path}/own.py"]
    with pytest.raises(WrongInput, match=r"not a function of parameters.*'fc1\.norm' \(Clock\)"):
        experiments.run(small(tmp_path / "runs", *own, "probes=gradients"))


def test_the_plan_is_stored_and_dry_stops_after_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config: Any = small(tmp_path, *PROBES, "dry=true")
    with caplog.at_level("INFO"):
        experiments.run(config)
    assert "forward-backward passes" in caplog.text
    assert list(tmp_path.iterdir()) == []
    path = experiments.run(small(tmp_path, *PROBES)).path
    (start,) = json.loads((path / "provenance.json").read_text())["starts"]
    assert "forward-backward passes" in start["plan"]


def test_float64_evaluation_of_a_float32_run(tmp_path: Path) -> None:
    chosen = ["norm=batch", *PROBES]
    single = load_runs(experiments.run(small(tmp_path, *chosen)).path)
    double = load_runs(experiments.run(small(tmp_path, *chosen, "probes.dtype=float64")).path)
    pick = [t[(t.metric == "landscape_loss") & (t.step == 3)].value.to_numpy() for t in (single, double)]
    assert (pick[0] != pick[1]).any()
    torch.testing.assert_close(torch.tensor(pick[0]), torch.tensor(pick[1]), rtol=1e-4, atol=1e-6)


def test_the_landscape_records_the_learning_rate_of_its_step(tmp_path: Path) -> None:
    schedule = ["optim.lr=0.3", "optim.schedule=step", "optim.milestones=[2,5]", "optim.factor=0.1"]
    table = load_runs(experiments.run(small(tmp_path, *schedule, "probes=landscape", "probes.every=2")).path)
    found = table[(table.probe == "landscape") & (table.metric == "learning_rate")]
    assert found.step.tolist() == [0, 2, 4]
    assert found.value.tolist() == pytest.approx([0.3, 0.03, 0.03])
    assert set(found.unit) == {"1"}


@pytest.mark.long
def test_the_grids_of_the_experiments_hold_the_published_step_lengths() -> None:
    """Santurkar et al. 2018, figures 4 and 10: 0.05 to 0.4 at lr 0.1, and 1e-8 to 3.16e-5 at lr 1e-6."""
    published = {0.1: (0.05, 0.1, 0.2, 0.4), 1e-6: (1e-8, 1e-7, 1e-6, 1e-5, 3.16e-5)}
    found: set[float] = set()
    for file in (Path(__file__).parent.parent / "conf").rglob("*.yaml"):
        experiments.compose([])  # which makes by_scale known
        config = OmegaConf.merge({"scale": "demo"}, OmegaConf.load(file))
        grid, rate = (OmegaConf.select(config, key) for key in ("probes.use.landscape.multiples", "optim.lr"))
        if grid is not None and rate in published:
            lengths = torch.tensor([rate * multiple for multiple in grid], dtype=torch.float64)
            assert all((lengths / length - 1).abs().min() < 1e-9 for length in published[rate]), file
            found.add(rate)
    assert found == set(published)


def test_a_step_that_changes_the_gradient_in_place_is_refused(tmp_path: Path) -> None:
    """What is left in .grad after clipping is not the gradient at theta_t; nothing may be measured from it."""
    (tmp_path / "own.py").write_text(
        "import torch\n\n\nclass Clipped(torch.optim.SGD):\n"
        "    def __init__(self, network, lr):\n        super().__init__(network.parameters(), lr=lr)\n"
        "    def step(self):\n"
        "        for group in self.param_groups:\n"
        "            for parameter in group['params']:\n                parameter.grad.mul_(0.5)\n"
        "        super().step()\n"
    )
    own = ["optim.name=Clipped", f"optim.file={tmp_path}/own.py", "~optim.momentum", "~optim.nesterov"]
    assert experiments.run(small(tmp_path / "plain", *own)).state == "finished"
    with pytest.raises(WrongInput, match="in place"):
        experiments.run(small(tmp_path / "probed", *own, "probes=gradients"))


def test_nesterov_momentum_leaves_the_gradient_that_probes_read(tmp_path: Path) -> None:
    """At step 0 the gradient does not depend on the optimiser."""
    found = []
    for nesterov in ("false", "true"):
        chosen = ["optim.momentum=0.9", f"optim.nesterov={nesterov}", "probes=gradients"]
        table = load_runs(experiments.run(small(tmp_path, *chosen)).path)
        found.append(table[(table.metric == "total_gradient_norm") & (table.step == 0)].value.tolist())
    assert found[0] == found[1]
