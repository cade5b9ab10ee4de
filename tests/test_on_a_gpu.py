"""The checks for a GPU, tried on the CPU: they run, write what they found, and notice what they are for."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from experiments.probing import PROBES

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("on_a_gpu", BENCHMARKS / "on_a_gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_device_that_is_not_there_is_refused(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["on_a_gpu.py"])
    assert script.main() == 2
    assert capsys.readouterr().err.startswith("error: --device cuda: ")


def test_every_probe_is_tried(script: ModuleType) -> None:
    """But `domains`, for which these data have none."""
    assert {*script.PROBES, *script.FURTHER, "domains"} - {"standard"} == set(PROBES.names())


def test_training_that_a_probe_disturbs_is_named(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert script.failures(script.invariants(cpu, script.TINY, ("batch",), ["gradients"])) == []
    own = script.state_after

    def disturbed(overrides: list[str], probes: str | None, norm: str, device: torch.device) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = own(overrides, probes, norm, device)
        if probes is not None:
            last = list(state)[-1]
            state[last] = state[last] + 1
        return state

    monkeypatch.setattr(script, "state_after", disturbed)
    assert script.failures(script.invariants(cpu, script.TINY, ("batch",), ["gradients"])) == [
        "batch: gradients disturbs training"
    ]
    far = {"none": {"same bits with": {}, script.FAR: [0.0, 2e-3]}}
    assert script.failures(far) == ["none: 2.0e-03 from the CPU"]


def test_what_no_time_was_left_for_is_named_and_no_success(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "told.json"
    monkeypatch.setattr(sys, "argv", ["on_a_gpu.py", "--device", "cpu", "--quick", "--minutes", "0", "--out", str(out)])
    assert script.main() == 1
    told = json.loads(out.read_text())
    assert "invariants" in told["left out"]
    assert "large network" in told["left out"]


@pytest.mark.long
def test_all_of_it_on_small_networks(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["on_a_gpu.py", "--device", "cpu", "--quick", "--out", str(tmp_path / "told.json")]
    )
    assert script.main() == 0
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["left out"] == []
    assert told["large network"]["plain steps"] >= 10
    assert set(told["invariants"]) == {"none", "batch"}
