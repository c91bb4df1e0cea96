"""Exercises of notebook 05: the losses."""
