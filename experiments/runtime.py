"""Device, threads, arithmetic and seeds, made explicit before a run and put back after it."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import random
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

import numpy as np
import torch

from experiments.errors import WrongInput


def resolve_device(name: str) -> torch.device:
    """The device called ``name``; 'auto' is the first GPU if there is one, else the CPU.

    Raises:
        WrongInput: no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if device is not None and device.type == "cuda" and device.index is None and torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    if device is None or str(device) not in available:
        raise WrongInput(f"device={name}: not on this machine; allowed: auto, {', '.join(available)}")
    return device


COMPILER = "TORCHINDUCTOR_DETERMINISTIC"


def use_deterministic_algorithms(mode: bool) -> None:
    """As torch's own, without importing its compiler, which takes seconds. Imported later, that reads a variable."""
    if "torch._inductor" in sys.modules:
        torch.use_deterministic_algorithms(mode)
    else:
        torch.set_deterministic_debug_mode("error" if mode else "default")


@contextlib.contextmanager
def runtime(device: torch.device, threads: int, numerics: Mapping[str, Any], seed: int) -> Iterator[None]:
    """Within it, torch computes with ``threads`` CPU threads and the arithmetic of ``numerics``.

    The global generators are seeded with the run's seed.
    Everything global is put back on leaving, so that a run in a notebook leaves no trace.
    """
    threads_before = torch.get_num_threads()
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    benchmark_before = torch.backends.cudnn.benchmark
    tf32_before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    dtype_before = torch.get_default_dtype()
    states_before = generator_states(device)
    compiler_before = os.environ.get(COMPILER)
    if numerics["deterministic"] and device.type == "cuda":
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # cuBLAS is deterministic only with a fixed workspace
    try:
        torch.set_num_threads(threads)
        use_deterministic_algorithms(bool(numerics["deterministic"]))
        os.environ[COMPILER] = str(int(numerics["deterministic"]))
        torch.backends.cudnn.benchmark = not numerics["deterministic"]
        torch.backends.cuda.matmul.allow_tf32 = bool(numerics["tf32"])
        torch.backends.cudnn.allow_tf32 = bool(numerics["tf32"])
        seed_global_generators(seed)
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.set_default_dtype(dtype_before)  # a user's module may have changed it
        if device.type == "cuda":
            torch.cuda.empty_cache()  # for the other runs that share the GPU
        use_deterministic_algorithms(deterministic_before)
        os.environ.pop(COMPILER, None)
        if compiler_before is not None:
            os.environ[COMPILER] = compiler_before
        torch.backends.cudnn.benchmark = benchmark_before
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32_before
        restore_generator_states(states_before, device)


def seed_global_generators(seed: int) -> None:
    """Seeds torch's, Python's and numpy's. The suite draws from none of them, but a user's module may."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator is what a user's module may draw from


def generator_states(device: torch.device) -> dict[str, Any]:
    """The states of the global generators of torch, Python and numpy, as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": [version, list(internal), gauss_next],
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
    }


def restore_generator_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Puts back what :func:`generator_states` returned."""
    torch.set_rng_state(states["torch"])
    if states["device"] is not None:
        torch.cuda.set_rng_state(states["device"], device)
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002


@functools.cache
def versions() -> Mapping[str, str]:
    """Versions of what the numbers depend on; of this process, however long it lives."""
    packages = ("torch", "torchvision", "numpy", "scikit-learn", "pillow")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def device_name(device: torch.device) -> str:
    """The GPU's or CPU's model, as the system names it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
