"""What is compared: arms by the values of configuration keys, and the settings in which they may be compared.

An **arm** is a set of runs by the values of any keys. A **setting** is all runs that are alike in every other key of
what was trained, the seed excepted. A difference that no arm names is a wall: nothing is pooled across it, in no
picture and in no verdict.

Keys are those of the configuration (`optim.lr`, `model.width`); a group's bare name (`model`) is its choice. `norm` is
the normalisation with the options in which it differs from its own defaults (`l2`, `l2 centered`), so that two runs
that differ in an option of their normalisation are two arms.
"""

from analysis.select.arms import Ambiguous, Arm, arms_by, differing, known_and_norms, known_and_others
from analysis.select.settings import Setting, apart, settings
from analysis.select.words import CHOICE, FACTS, GROUPS, LENGTH, NORM, TITLE, plain, shown, words_of

__all__ = ["CHOICE", "FACTS", "GROUPS", "LENGTH", "NORM", "TITLE", "Ambiguous", "Arm", "Setting", "apart", "arms_by"]
__all__ += ["differing", "known_and_norms", "known_and_others", "plain", "settings", "shown", "words_of"]
