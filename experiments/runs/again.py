"""Probing a stored run again, at its kept checkpoints, with other probes and evaluations.

Probes do not disturb training, so what they would have measured during the run can still be measured wherever a
checkpoint was kept: the step that follows it is trained once more, with the probes around it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.building import build_training
from experiments.data import load_data
from experiments.errors import Interrupted, WrongInput
from experiments.runs.attempt import Outcome, recorded, restore
from experiments.runs.checkpoints import kept_checkpoint, kept_steps, load_checkpoint
from experiments.runs.files import disk_errors, read_json
from experiments.runs.folder import RunFolder, read_status
from experiments.runs.format import CONFIG
from experiments.runs.identity import Identity, check_identity, identity_of, run_name
from experiments.runs.provenance import (
    begin_provenance,
    check_conditions,
    conditions_in_words,
    conditions_of,
    end_provenance,
)
from experiments.runs.records import ProbeRecorder, RecordWriter, describe
from experiments.runtime import resolve_device, runtime
from experiments.train import train_step

log = logging.getLogger("experiments")


def probe_again(config: Mapping[str, Any]) -> Outcome:
    """Measures at the kept checkpoints of ``config["probe_again"]`` and stores that as a run of its own.

    Of the configuration only the probes, ``evaluation.kinds``, the device and where to store count; what was trained is
    read from the run. The new run's records are those of its probes and evaluations alone, at steps t where
    kept/step-t.pt exists: on the step from theta_t to theta_{t+1}, or of theta_t, the same as if they had been on.

    Raises:
        WrongInput: not a run folder, no kept checkpoints, nothing to measure, or steps that were not kept.
        RunFailure: a file is damaged.
    """
    source = Path(config["probe_again"]).expanduser().absolute()
    if not (source / CONFIG).exists():
        raise WrongInput(f"probe_again={source}: not a run folder (it has no {CONFIG})")
    kept = kept_steps(source)
    if not kept:
        raise WrongInput(f"probe_again={source}: kept no checkpoints; train with checkpoint.keep=[...]")
    kinds = config["evaluation"]["kinds"]
    if not config["probes"]["use"] and not kinds:
        raise WrongInput(
            "probes=none: probing again needs probes, for example probes=standard, or evaluations (evaluation.kinds)"
        )
    there = read_json(source / CONFIG, ("config",))
    steps = kept if config["probes"]["at"] is None else config["probes"]["at"]
    if not set(steps) <= set(kept):
        raise WrongInput(f"probes.at={steps}: kept steps of {source.name} are {kept}")
    config = _as_trained(config, there["config"], steps)
    device = resolve_device(config["device"])
    with runtime(device, config["threads"], config["numerics"], config["seed"]):
        data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], device)
        asked = identity_of(config, data.fingerprint)
        training_there = there.get("training", asked.training)  # as it was named, whatever has become a default since
        identity = Identity(
            training_there, {**asked.measurement, "probed_again": True}, asked.defaults, asked.measurement_defaults
        )
        path = Path(config["runs_dir"]).expanduser().absolute() / run_name(config, identity, data.label)
        done = check_identity(path, identity) and read_status(path)
        if done and done["state"] == "finished":
            return Outcome(path, "finished", done["step"], trained=False)
        recorder = ProbeRecorder()
        training = build_training(config, data, device, recorder, probe_at=steps)
        evaluations = training.evaluations.only(kinds)
        evaluated = describe(evaluations.fields(training.loss_unit))
        if config["dry"]:
            log.info("%s: would probe %s again at steps %s", path, source, steps)
            log.info("%s", training.probes.describe())
            return Outcome(path, done["state"] if done else "missing", done["step"] if done else 0, trained=False)
        with disk_errors(path), RunFolder(path, config["lease_seconds"]) as folder:
            folder.describe(identity, config, data.label, asdict(data.spec))
            begin_provenance(
                folder.path,
                from_step=steps[0],
                probed_again=str(source),
                plan=training.probes.describe(),
                **conditions_in_words(config, device),
            )
            fields = {**({"training": evaluated} if evaluated else {}), **training.probes.fields()}
            recorder.records = records = RecordWriter(path, fields, may_write=folder.lease.check)
            with recorded(folder, records, steps[0], config["steps"]) as stop:
                for step in steps:
                    checkpoint = load_checkpoint(kept_checkpoint(source, step))
                    check_conditions(source, checkpoint["conditions"], conditions_of(config, device), config)
                    restore(training, checkpoint, device)
                    if evaluated:
                        records.append("training", step, evaluations.all_values(training.network, step))
                    batch = data.batch(step)
                    with training.probes.around(step, batch) as forward:
                        train_step(training, forward, batch)
                    records.end_step(step)
                    folder.heartbeat(step)
                    if stop.number is not None:
                        raise Interrupted(stop.number)
                records.compact()
                folder.set_status("finished", steps[-1] + 1, config["steps"])
                end_provenance(folder.path)
                log.info("%s: probed again at steps %s", path.name, steps)
    return Outcome(path, "finished", steps[-1] + 1, trained=True)


def _as_trained(config: Mapping[str, Any], there: Mapping[str, Any], steps: list[int]) -> dict[str, Any]:
    """The stored run's configuration with this call's probes and evaluations, place and device."""
    own = ("device", "threads", "runs_dir", "run_name", "resume", "dry", "label", "arm", "probe_again")
    result: dict[str, Any] = json.loads(json.dumps(there))
    result.update({key: config[key] for key in own})
    result["probes"] = {**config["probes"], "at": steps}
    mine, theirs = config["evaluation"], result["evaluation"]  # which lacks what was not there yet
    result["evaluation"] = {**mine, **theirs, "kinds": mine["kinds"]}
    result["data"].update({key: config["data"].get(key) for key in ("root", "cache") if config["data"].get(key)})
    return result
