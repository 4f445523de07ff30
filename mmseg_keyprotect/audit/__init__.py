"""Attacks on protected models, one file each."""
