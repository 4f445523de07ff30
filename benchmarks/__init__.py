"""Measurements: the speed of encryption, and the tables of results. They are not part of the package."""
