"""Versions that tests depend on."""

import torch

TORCH = tuple(map(int, torch.__version__.split('.')[:2]))
"""The version of torch, major and minor."""
