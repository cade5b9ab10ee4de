"""Claims of Ioffe & Szegedy (2015), in files by what they are about."""

PAPER = "Ioffe & Szegedy 2015"
NETWORK = {"model": "mlp_ioffe_szegedy", "task": "classification"}
"""The network of section 4.1, figure 1."""
RATES = (0.1, 1.0, 10.0)
"""Learning rates that every arm has, where the question is whether it trains at any."""
