"""Encrypted feature maps: keyed transforms inside the network."""
