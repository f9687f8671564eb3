"""Scores: the engine, run folders, bands, and the same from Python."""
