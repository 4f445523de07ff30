"""Published protections of model weights, re-implemented small, and the attacks that they are compared by."""

import mmseg_keyprotect  # noqa: F401  makes mmseg importable beside mmcv-lite, so it comes first
from benchmarks.paper.rivals.base import Rival
from benchmarks.paper.rivals.deepipr import Passports
from benchmarks.paper.rivals.groupcover import MixedKernels
from benchmarks.paper.rivals.hpnn import GainSigns, KernelSigns
from benchmarks.paper.rivals.nnsplitter import HiddenWeights
from benchmarks.paper.rivals.shadownet import ShuffledKernels

RIVALS: dict[str, type[Rival]] = {
    one.name: one for one in (GainSigns, KernelSigns, HiddenWeights, ShuffledKernels, MixedKernels, Passports)
}
"""Every rival by its name."""
