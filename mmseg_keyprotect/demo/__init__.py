"""Drawn scenes, to try the package without downloading anything."""
