"""From kernels to a latency: tables and cards, regression, calibration, predictors and their loading."""
