"""From numbers over seeds to a word, with a known rate of wrong ones.

Each **kind** of measure is one small object that says how its terms are paired, what is only bounded, what must hold
before it is asked, and how it is worded. What all share:

- The estimand is the **typical seed**, the median over seeds: about it a t-interval is wrong in at most 4 % of cases
  for nearly all shapes, while about the mean it is wrong in 10 to 60 % where one arm is skewed or sometimes stuck.
- An interval lies inside a region that was fixed beforehand (**supported**), outside of it (**contradicted**), within a
  smallest effect that was fixed beforehand (**no difference**), or else the comparison is **undecided**.
- The interval is the wider of the t-interval (96 %, on logarithms for ratios) and that of order statistics (98 % to
  each side, free of shape): with six seeds all six must lie on the side that is told.
- Nothing is clipped. Infinite numbers leave the order statistics alone to decide; so do seeds that are all equal, and
  then no interval is given, since its width is not known.
- Three or four seeds **lean**, five are **provisional**, six are a verdict.

The rates of wrong words, at the very edge of a region, are measured by `benchmarks/error_rates.py`: of six
seeds at most 5 % to each side for every kind and shape.
"""

from analysis.decide.counts import Count, Identity
from analysis.decide.fraction import Fraction
from analysis.decide.kinds import DIFFERENCE, RATIO, VALUE, Kind, Typical
from analysis.decide.many import expected_wrong, over_settings, q_values
from analysis.decide.outcome import SEEDS, Outcome, Region, Unit, Word, standing, told, whole
from analysis.decide.ranks import RankOverFamilies
from analysis.decide.spread import Spread

__all__ = ["DIFFERENCE", "RATIO", "SEEDS", "VALUE", "Count", "Fraction", "Identity", "Kind", "Outcome"]
__all__ += ["RankOverFamilies", "Region", "Spread", "Typical", "Unit", "Word", "expected_wrong", "over_settings"]
__all__ += ["q_values", "standing", "told", "whole"]
