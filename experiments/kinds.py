"""Further evaluations of the test set, as the configuration has them. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from experiments.errors import WrongInput

DEFAULTS: Mapping[str, str] = {"statistics": "running", "inputs": "clean", "data": "whole"}
"""Of each part of an evaluation what is taken where it is left out: together, what ``test_accuracy`` is."""


def spelled_out(kinds: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """``evaluation.kinds`` with all parts of each as dictionaries with a name: ``pgd`` stands for ``{name: pgd}``.

    Args:
        kinds: by label, statistics, inputs, data, or several of these.

    Raises:
        WrongInput: it is not of that form.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for label, chosen in kinds.items():
        key = f"evaluation.kinds.{label}"
        if not re.fullmatch(r"[A-Za-z]\w*", str(label)):
            raise WrongInput(f"{key}: a label is of letters, digits and _, a letter first")
        if not isinstance(chosen, Mapping) or not chosen or not set(chosen) <= set(DEFAULTS):
            raise WrongInput(
                f"{key}={chosen}: must say statistics, inputs, data, or several, for example {{inputs: pgd}}"
            )
        own: dict[str, dict[str, Any]] = {}
        for part, default in DEFAULTS.items():
            value = chosen.get(part, default)
            value = {"name": value} if isinstance(value, str) else value
            if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
                raise WrongInput(f"{key}.{part}={value}: must be a name, or options with a name")
            own[part] = dict(value)
        if {part: value["name"] for part, value in own.items()} == DEFAULTS and all(
            "file" not in v for v in own.values()
        ):
            raise WrongInput(f"{key}: running statistics on clean inputs are test_accuracy already")
        found[str(label)] = own
    return found
