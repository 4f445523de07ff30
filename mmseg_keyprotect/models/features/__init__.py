"""Encrypted feature maps: keyed transforms inside the network, and the weights that expect them."""
