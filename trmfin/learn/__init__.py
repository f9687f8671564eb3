"""Training, and everything a trained model is judged by: metrics, intervals, calibration, challengers, bundles."""
