"""Claims of Ioffe & Szegedy (2015), in files by what they are about."""

PAPER = "Ioffe & Szegedy 2015"
NETWORK = {"model": "mlp_ioffe_szegedy", "task": "classification"}
"""The network of section 4.1, figure 1."""
TRAINS = 0.5
"""Data loss in nats, over the last tenth of training: below it a run counts as trained, whatever other runs reach."""
RATES = (0.1, 1.0, 10.0)
"""Learning rates that every arm has, where the question is whether it trains at any."""
