"""Recovery of planted sparse networks: data, sensing operator, solvers and measures, which the analyses beside it use.

Fridovich-Keil & Pilanci, "A Recovery Guarantee for Sparse Neural Networks", arXiv 2509.20323. Imports `training` and
below. Float64 throughout, on the CPU.
"""
