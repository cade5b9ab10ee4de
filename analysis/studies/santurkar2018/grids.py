"""The paper's step lengths and layer numbers."""

STEP_LENGTHS = {"classification": (0.5, 1.0, 2.0, 4.0), "regression": (0.01, 0.1, 1.0, 10.0, 31.6)}
"""In learning rates: of the VGG, section 3.1, and of the deep linear network, appendix."""
DEPTH = {"classification": 13, "regression": 25}
"""Layers that the paper counts: convolutions of the VGG, layers of the deep linear network."""
FOLLOWED = {"classification": (5, 10), "regression": (9, 17)}
"""Layers of figure 3."""
ACCURACY_LAYERS, NOISY_LAYERS, LP_LAYERS, LINEAR_LAYERS = (3, 11), (2, 9, 13), (11,), (1, 11, 24)
"""Layers of which figure 1, figures 2 and 8, figure 6 and figure 9 show activations."""
STARTS = (2, 4, 20)
"""Step-length grids of ours begin at the learning rate divided by these; the paper's at half of it."""
PLAIN = ("none", "batch")
NOISY = ("none", "batch", "noisy_batch")
WITH_NOISE = ("noisy_batch", "noise")
BATCH_STATISTICS = ("batch", "noisy_batch")
LP = ("none", "batch", "l1", "l2", "linf")
