"""Probing a stored run again, at its kept checkpoints, with other probes.

Probes do not disturb training, so what they would have measured during the run can still be measured wherever a
checkpoint was kept: the step that follows it is trained once more, with the probes around it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments import store
from experiments.data import load_data
from experiments.errors import Interrupted, WrongInput
from experiments.probing import ProbeRecorder
from experiments.records import Records
from experiments.runner import (
    Outcome,
    build_training,
    check_conditions,
    conditions_in_words,
    conditions_of,
    log,
    recorded,
    restore,
)
from experiments.runtime import resolve_device, runtime
from experiments.store import RunFolder, disk_errors
from experiments.train import train_step


def probe_again(config: Mapping[str, Any]) -> Outcome:
    """Measures at the kept checkpoints of ``config["probe_again"]`` and stores that as a run of its own.

    Of the configuration only the probes, the device and where to store count; what was trained is read from the run.
    The new run's records are those of its probes alone, at steps t where kept/step-t.pt exists: on the step from
    theta_t to theta_{t+1}, the same as if the probes had been on.

    Raises:
        WrongInput: not a run folder, no kept checkpoints, no probes, or steps that were not kept.
        RunFailure: a file is damaged.
    """
    source = Path(config["probe_again"]).expanduser().absolute()
    if not (source / "config.json").exists():
        raise WrongInput(f"probe_again={source}: not a run folder (it has no config.json)")
    kept = store.kept_steps(source)
    if not kept:
        raise WrongInput(f"probe_again={source}: kept no checkpoints; train with checkpoint.keep=[...]")
    if not config["probes"]["use"]:
        raise WrongInput("probes=none: probing again needs probes, for example probes=standard")
    there = store.read_json(source / "config.json", ("config",))
    steps = kept if config["probes"]["at"] is None else config["probes"]["at"]
    if not set(steps) <= set(kept):
        raise WrongInput(f"probes.at={steps}: kept steps of {source.name} are {kept}")
    config = _as_trained(config, there["config"], steps)
    device = resolve_device(config["device"])
    with runtime(device, config["threads"], config["numerics"], config["seed"]):
        data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], device)
        identity = {**store.identity_of(config, data.fingerprint), "probed_again": True}
        path = Path(config["runs_dir"]).expanduser().absolute() / store.run_name(config, identity, data.label)
        done = store.check_identity(path, identity) and store.read_status(path)
        if done and done["state"] == "finished":
            return Outcome(path, "finished", done["step"], trained=False)
        recorder = ProbeRecorder()
        training = build_training(config, data, device, recorder, probe_at=steps)
        with disk_errors(path), RunFolder(path, config["lease_seconds"]) as folder:
            folder.describe(identity, config, data.label, asdict(data.spec))
            folder.begin_provenance(
                from_step=steps[0],
                probed_again=str(source),
                plan=training.probes.describe(),
                **conditions_in_words(config, device),
            )
            recorder.records = records = Records(path, training.probes.fields(), may_write=folder.lease.check)
            with recorded(folder, records, steps[0], config["steps"]) as stop:
                for step in steps:
                    checkpoint = store.load_checkpoint(source / "kept" / f"step-{step:08d}.pt")
                    check_conditions(source, checkpoint["conditions"], conditions_of(config, device), config)
                    restore(training, checkpoint, device)
                    batch = data.batch(step)
                    with training.probes.around(step, batch) as forward:
                        train_step(training, forward, batch)
                    records.end_step(step)
                    folder.heartbeat(step)
                    if stop.number is not None:
                        raise Interrupted(stop.number)
                records.compact()
                folder.set_status("finished", steps[-1] + 1, config["steps"])
                folder.end_provenance()
                log.info("%s: probed again at steps %s", path.name, steps)
    return Outcome(path, "finished", steps[-1] + 1, trained=True)


def _as_trained(config: Mapping[str, Any], there: Mapping[str, Any], steps: list[int]) -> dict[str, Any]:
    """The stored run's configuration with this call's probes, place and device."""
    mine = ("device", "threads", "runs_dir", "run_name", "resume", "dry", "label", "probe_again")
    result: dict[str, Any] = json.loads(json.dumps(there))
    result.update({key: config[key] for key in mine})
    result["probes"] = {**config["probes"], "at": steps}
    result["data"].update({key: config["data"].get(key) for key in ("root", "cache") if config["data"].get(key)})
    return result
