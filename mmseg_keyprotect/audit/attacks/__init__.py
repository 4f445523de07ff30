"""The attacks. A new one is one file here and one line in ``ATTACKS``."""

from __future__ import annotations

from mmseg_keyprotect.audit.attack import Attack
from mmseg_keyprotect.audit.attacks.chosen_images import ChosenImages
from mmseg_keyprotect.audit.attacks.exhaustive import Exhaustive
from mmseg_keyprotect.audit.attacks.feature_statistics import FeatureStatistics
from mmseg_keyprotect.audit.attacks.feature_swaps import FeatureSwaps
from mmseg_keyprotect.audit.attacks.fine_tuning import FineTuning, FineTuningStem, FromScratch
from mmseg_keyprotect.audit.attacks.hill_climbing import HillClimbingEntropy, HillClimbingLabels, RandomKeys
from mmseg_keyprotect.audit.attacks.known_pairs import KnownPairs
from mmseg_keyprotect.audit.attacks.pictures_alone import PicturesAlone
from mmseg_keyprotect.audit.attacks.un_key import UnKey, UnKeyDoublyStochastic, UnKeyUnlabelled
from mmseg_keyprotect.audit.attacks.weights_alone import WeightsAlone

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        ChosenImages,
        KnownPairs,
        Exhaustive,
        PicturesAlone,
        WeightsAlone,
        RandomKeys,
        HillClimbingLabels,
        HillClimbingEntropy,
        UnKey,
        UnKeyDoublyStochastic,
        UnKeyUnlabelled,
        FeatureStatistics,
        FeatureSwaps,
        FineTuningStem,
        FineTuning,
        FromScratch,
    )
}
