"""The attacks. A new one is one file here and one line in ``ATTACKS``."""

from __future__ import annotations

from mmseg_keyprotect.audit.attack import Attack
from mmseg_keyprotect.audit.attacks.chosen_images import ChosenImages
from mmseg_keyprotect.audit.attacks.exhaustive import Exhaustive
from mmseg_keyprotect.audit.attacks.hill_climbing import HillClimbingEntropy, HillClimbingLabels
from mmseg_keyprotect.audit.attacks.known_pairs import KnownPairs
from mmseg_keyprotect.audit.attacks.pictures_alone import PicturesAlone
from mmseg_keyprotect.audit.attacks.weights_alone import WeightsAlone

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        ChosenImages,
        KnownPairs,
        Exhaustive,
        PicturesAlone,
        WeightsAlone,
        HillClimbingLabels,
        HillClimbingEntropy,
    )
}
