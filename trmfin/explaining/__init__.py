"""Why a score is what it is: players, exact Shapley values at every step, reasons, records."""
