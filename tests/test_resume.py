"""A run killed at random moments and taken up again ends bit-identical to one never stopped, records included."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import experiments
from experiments.errors import RunFailure, WrongInput
from tests.conftest import partly, sample
from tests.runs import DEEP_LINEAR, MLP, VGG, checkpoint, differences, small

NETS = {"deep_linear": DEEP_LINEAR, "vgg": VGG, "mlp": MLP}
NORMS = [
    "none",
    "batch",
    "noisy_batch",
    "noise",
    "l1",
    "linf",
    "weight",
    "batch_renorm",
    "layer",
    "whitening",
    "cosine",
]
NORMS += ["noise norm.correlation_time=5", "noisy_batch norm.noise_per=sample", "batch norm.per=ghost norm.ghost_size=4"]
NORMS += ["batch norm.statistics=running", "batch norm.statistics=population"]
