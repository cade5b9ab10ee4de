"""Everything that one run trains with, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from experiments.criteria import check_targets, data_loss, usual
from experiments.data import Data
from experiments.defaults import GROUPS
from experiments.errors import WrongInput
from experiments.evaluations import PARTS, build_evaluations
from experiments.kinds import spelled_out
from experiments.mirrors import MIRRORS
from experiments.models import build_model
from experiments.optimisers import ChecksRun, build_optimiser, learning_rate_schedule
from experiments.options import refuse_unknown_options
from experiments.parameter_groups import decays, freeze, parameter_groups, rates_of, regroup, thin_out
from experiments.probing import PROBES, Sink, build_probes
from experiments.rehearsal import rehearse
from experiments.schema import GROUP_DEFAULTS
from experiments.selections import Parameters
from experiments.train import Training
from probes.objective import Objective
from probes.statistics import asks_for_population


def check_options(config: Mapping[str, Any]) -> None:
    """Refuses every option of model, norm, optim, probes, evaluations or mirror that what is named there does not take.

    Args:
        config: the configuration as plain dictionaries. Options of the data are checked when they are loaded.

    Raises:
        WrongInput: the first such option, or an unknown name.
    """
    named = [(group, *GROUPS[group], config[group], GROUP_DEFAULTS[group]) for group in ("model", "norm", "optim")]
    named += [
        (f"probes.use.{label}", PROBES, 0, options, {})
        for label, options in config["probes"]["use"].items()
        if isinstance(options, Mapping) and "name" in options
    ]
    for label, parts in spelled_out(config["evaluation"]["kinds"]).items():
        named += [(f"evaluation.kinds.{label}.{part}", PARTS[part], 0, parts[part], {}) for part in PARTS]
    named += [("mirror", MIRRORS, 2, config["mirror"], {})] if config["mirror"] else []
    for key, registry, positional, options, shared in named:
        own = {name: value for name, value in options.items() if name not in {"name", "file", *shared}}
        if options["name"] is None:
            refuse_unknown_options(key, nothing, 0, own, config)
        else:
            entry = registry.get(options["name"], options.get("file"), key if "." in key else None)
            refuse_unknown_options(key, entry, positional, own, config)


def nothing() -> None:
    """What is built where no name is given: it takes no options."""


def build_training(
    config: Mapping[str, Any],
    data: Data,
    device: torch.device,
    sink: Sink,
    probe_at: list[int] | None = None,
) -> Training:
    """Everything that the run of ``config`` trains with, from its start.

    Args:
        config: the configuration as plain dictionaries.
        data, device: what it trains on.
        sink: takes what the probes measure.
        probe_at: probe these steps, whatever the configuration's schedule says.

    Raises:
        WrongInput: something does not fit together.
    """
    network = build_model(config["model"], config["norm"], data.spec, config["seed"]).to(device)
    optim = config["optim"]
    parameters = Parameters(network, lambda: data.batch(0), config["seed"])
    groups = parameter_groups(network, optim["groups"], parameters, optim["lr"])
    if any(group.random_per_channel is not None for group in groups):
        groups = thin_out(network, groups, optim["weight_decay"], config["seed"])
        parameters = Parameters(network, parameters.batch, config["seed"])  # as they are called now
    freeze(network, groups)
    optimiser = build_optimiser(network, optim, parameters)
    trains = probe_at is None  # a finished run that is probed again was checked when it was trained
    if trains and isinstance(optimiser, ChecksRun):
        optimiser.check(optim["criterion"] or usual(data.spec.task), config["steps"])
    factors = regroup(optimiser, network, groups, float(optim["lr"]))
    task_loss = data_loss(data.spec.task, optim["loss"], optim["criterion"])
    check_targets(optim["criterion"], data.batch(0).targets)
    population = data.training_inputs() if asks_for_population(network) else None
    objective = Objective(task_loss, optim["weight_decay"], decays(groups), population)
    learning_rate = learning_rate_schedule(
        optim["schedule"], optim["lr"], config["steps"], optim["milestones"], optim["factor"]
    )
    rates = rates_of(optimiser, network, factors)
    rehearse(network, objective, data.batch(0), config["seed"])
    by_domain = any(getattr(module, "domains", None) for module in network.modules())
    if trains and data.domains and by_domain and (rarest := data.rarest(config["steps"] + 1)):
        try:
            rehearse(network, objective, data.batch(rarest), config["seed"])
        except WrongInput as error:
            raise WrongInput(f"{error}; so it is at step {rarest}, which has the fewest samples of a domain") from error
    return Training(
        network=network,
        optimiser=optimiser,
        objective=objective,
        data=data,
        learning_rate=learning_rate,
        rate_factors=factors,
        seed=config["seed"],
        steps=config["steps"],
        loss_reduction=optim["loss"],
        criterion=optim["criterion"],
        evaluate_every=config["evaluation"]["every"],
        test_every=config["evaluation"]["test_every"],
        diverged_above=config["diverged_above"],
        probes=build_probes(config, network, objective, data, lambda step: rates(learning_rate(step)), sink, probe_at),
        evaluations=build_evaluations(config, network, objective, data),
    )
