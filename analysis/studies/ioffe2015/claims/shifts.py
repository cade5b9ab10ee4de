"""The claim that puts two measures of internal covariate shift beside one another."""

from __future__ import annotations

from analysis.measures import Levels
from analysis.select import Arm
from analysis.shifts import both_shifts
from analysis.studies.ioffe2015.claims import NETWORK

CLAIMS = (
    both_shifts(
        "I12",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        Arm.norm("batch"),
        Arm.norm("none"),
        levels=Levels(2.0, 0.5),
        about=NETWORK,
        experiment="ioffe2015/shift",
    ),
)
