"""Figures of Ghorbani, Krishnan & Xiao (2019)."""
