"""Measurements of the project: speed, and the tables of its results. Not part of the package."""
