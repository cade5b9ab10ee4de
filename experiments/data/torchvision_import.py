"""Importing torchvision beside a CPU build of torch."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

from experiments.errors import WrongInput

_fragment: torch.library.Library | None = None
"""Kept for the life of the process: the schemas vanish with the library object."""


def import_torchvision() -> ModuleType:
    """The torchvision module, also where its compiled library does not load.

    A torchvision built for CUDA beside a torch for the CPU (as plain ``pip`` installs it) has a compiled library that
    wants CUDA, and ``import torchvision`` dies with "operator torchvision::nms does not exist", since it registers
    shapes for operators that nobody defined. Data sets, transforms and models need none of them: where the library
    does not load, the missing operators are declared, without an implementation. Where it loads, nothing is declared.
    The cure works only before torchvision's first import, so whoever needs torchvision asks here.

    Raises:
        WrongInput: torchvision is not installed.
    """
    global _fragment
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise WrongInput("torchvision is not installed; digits and gaussian do without it")
    folder = Path(next(iter(spec.submodule_search_locations)))
    libraries = sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd")])
    try:
        for library in libraries:
            torch.ops.load_library(library)
    except OSError:
        libraries = []
    if not libraries and _fragment is None:
        _fragment = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                _fragment.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")
