"""How one run is kept: who it is, its folder, what is written there, and how it is taken up again. Imports no torch."""
