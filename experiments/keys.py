"""Keys of the configuration that nobody reads: found, and refused with the key that is likely to be meant.

Imports no torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra.conf import HydraConf
from omegaconf import MISSING

from experiments.errors import WrongInput, near_miss

MEANT: Mapping[str, str] = {
    "learning_rate": "optim.lr",
    "rate": "optim.lr",
    "eta": "optim.lr",
    "step_size": "optim.lr",
    "wd": "optim.weight_decay",
    "decay": "optim.weight_decay",
    "l2": "optim.weight_decay",
    "bs": "optim.batch_size",
    "batch": "optim.batch_size",
    "batchsize": "optim.batch_size",
    "scheduler": "optim.schedule",
    "lr_schedule": "optim.schedule",
    "optimizer": "optim",
    "optimiser": "optim",
    "epoch": "steps",
    "epochs": "steps",
    "iterations": "steps",
    "iters": "steps",
    "max_steps": "steps",
    "num_steps": "steps",
    "seeds": "seed",
    "random_seed": "seed",
    "dataset": "data",
    "net": "model",
    "network": "model",
    "arch": "model",
    "architecture": "model",
    "normalization": "norm",
    "normalisation": "norm",
    "init": "model.initialisation",
    "initialization": "model.initialisation",
    "hidden": "model.widths",
    "layers": "model.depth",
    "gpu": "device",
    "num_threads": "threads",
    "workers": "launcher.workers",
    "num_workers": "launcher.workers",
    "out": "runs_dir",
    "output": "runs_dir",
    "output_dir": "runs_dir",
    "outdir": "runs_dir",
    "name": "run_name",
}
"""What other tools call keys of ours."""

_SWEEPER = ("_target_", "max_batch_size", "params", "arms")


def unknown(key: str, value: str, allowed: Iterable[str], whole: Mapping[str, Any], what: str = "key") -> WrongInput:
    """The refusal of a key that nobody reads.

    Args:
        key: dotted.
        value: as it is to be shown, "=0.5"; empty if none is known.
        allowed, whole: as :func:`hint` takes them.
        what: key or option.
    """
    return WrongInput(f"{key}{value}: unknown {what}; {hint(key, allowed, whole)}")


def hint(key: str, allowed: Iterable[str], whole: Mapping[str, Any]) -> str:
    """The end of a line about an unknown key: the one that is likely to be meant, and those that are allowed there.

    Args:
        key: dotted.
        allowed: the keys of the node in which it was missed.
        whole: the configuration; a key elsewhere of the same last name, or of the same meaning, is likely to be meant.
    """
    names = [str(name) for name in allowed if name not in ("hydra", "choices")]
    prefix, _, last = key.rpartition(".")
    known = set(_dotted(whole))
    meant = difflib.get_close_matches(last, names, n=1, cutoff=0.8)
    meant = meant or ([MEANT[last]] if MEANT.get(last) in known else [])
    meant = meant or sorted(name for name in known if name.rpartition(".")[2] == last and name != key)
    if prefix:  # a neighbour goes by its last name, as the allowed ones do
        meant = [name.removeprefix(f"{prefix}.") for name in meant]
    return near_miss(last, names, meant[:3]) if names or meant else "it has none"


def refuse_unknown(config: Mapping[str, Any], schema: type, whole: Mapping[str, Any], prefix: str = "") -> None:
    """Refuses keys that the schema does not have, which Hydra lets a ``+`` add.

    Args:
        config: the node that ``schema`` describes, composed.
        schema: a dataclass; what it leaves open (Any, a dictionary) is not looked into.
        whole: the configuration, for the hint.
        prefix: of the node's keys.

    Raises:
        WrongInput: the first such key.
    """
    known = typing.get_type_hints(schema)
    for key in config:
        if key not in known:
            raise unknown(f"{prefix}{key}", f"={config[key]}", known, whole)
        if dataclasses.is_dataclass(known[key]):
            refuse_unknown(config[key], typing.cast(type, known[key]), whole, f"{prefix}{key}.")


def refuse_taken_away(config: Mapping[str, Any], schema: type, prefix: str = "") -> None:
    """Refuses that a ``~`` took keys of the schema away.

    Raises:
        WrongInput: the first such key.
    """
    for key, kind in typing.get_type_hints(schema).items():
        if config.get(key, MISSING) == MISSING:
            raise WrongInput(f"{prefix}{key}: must be given; leave ~{prefix}{key} out")
        if dataclasses.is_dataclass(kind):
            refuse_taken_away(config[key], typing.cast(type, kind), f"{prefix}{key}.")


def refuse_unknown_to_hydra(overrides: Iterable[str]) -> None:
    """The same of keys of the node ``hydra`` that were added by a ``+``.

    Args:
        overrides: those of that node, as they were typed.

    Raises:
        WrongInput: the first one that Hydra does not have.
    """
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        node: Any = HydraConf
        for place, part in enumerate(parts := key.split(".")[1:]):
            known = _SWEEPER if parts[:place] == ["sweeper"] else typing.get_type_hints(node) if node else None
            if override.startswith("+") and known is not None and part not in known:
                raise unknown(".".join(["hydra", *parts[: place + 1]]), f"={value}", known, {})
            kind = typing.get_type_hints(node).get(part) if node else None
            node = kind if dataclasses.is_dataclass(kind) else None


def refuse_unused(config: Mapping[str, Any], overrides: Iterable[str]) -> None:
    """Refuses options of a model that were typed for one run and that nothing reads, as others are set.

    In a sweep another job may read them.

    Raises:
        WrongInput: the first one, and why.
    """
    typed = {override.lstrip("+").partition("=")[0] for override in overrides}
    model = config["model"]
    drawn = model.get("initialisation")
    if drawn != "gaussian" and "model.init_std" in typed:
        told = f"model.initialisation={drawn} does not use it, gaussian does"
        raise WrongInput(f"model.init_std={model['init_std']}: is without effect: {told}")
    if drawn is None and "model.gain" in typed:
        raise WrongInput(f"model.gain={model['gain']}: is without effect: model.initialisation=null draws no weights")


def _dotted(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key within nested dictionaries, dotted, groups too; not of what other tools need (hydra)."""
    for key, value in node.items():
        if not prefix and key in ("hydra", "choices"):
            continue
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
