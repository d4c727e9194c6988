"""Packs of physical terms: a kernel's time as a sum of coefficients times amounts, fitted to networks."""
