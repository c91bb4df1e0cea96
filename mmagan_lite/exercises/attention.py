"""Exercises of notebook 03: multi-scale mixed attention."""
