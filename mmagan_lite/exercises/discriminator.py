"""Exercises of notebook 04: the discriminator."""
