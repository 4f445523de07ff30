"""The attacks. A new attack is one file here and one line in ``ATTACKS``."""

from __future__ import annotations

from mmseg_keyprotect.audit.registry import AttackRegistry

ATTACKS = AttackRegistry(
    {
        'chosen-images': 'chosen_images:ChosenImages',
        'known-pairs': 'known_pairs:KnownPairs',
        'exhaustive': 'exhaustive:Exhaustive',
        'pictures-alone': 'pictures_alone:PicturesAlone',
        'reconstruction': 'reconstruction:Reconstruction',
        'weights-alone': 'weights_alone:WeightsAlone',
        'random-keys': 'hill_climbing:RandomKeys',
        'hill-climbing-labels': 'hill_climbing:HillClimbingLabels',
        'hill-climbing-entropy': 'hill_climbing:HillClimbingEntropy',
        'query-masks': 'query_masks:QueryMasks',
        'un-key': 'un_key:UnKey',
        'un-key-doubly-stochastic': 'un_key:UnKeyDoublyStochastic',
        'un-key-unlabelled': 'un_key:UnKeyUnlabelled',
        'public-channels': 'public_channels:MatchPublicChannels',
        'batch-norm-memory': 'batch_norm_memory:BatchNormMemory',
        'neighbour-layers': 'neighbour_layers:NeighbourLayers',
        'norm-gain-signs': 'norm_gain_signs:NormGainSigns',
        'feature-swaps': 'feature_swaps:FeatureSwaps',
        'fine-tuning-stem': 'fine_tuning:FineTuningStem',
        'fine-tuning': 'fine_tuning:FineTuning',
        'from-scratch': 'fine_tuning:FromScratch',
        'surrogate-masks': 'surrogate:SurrogateMasks',
        'surrogate-scores': 'surrogate:SurrogateScores',
    },
    package=__name__,
)
"""All attacks by name, in the order of reports; the class of an attack is imported on first use."""

register_attack = ATTACKS.register
"""Register an attack of your own, as a class decorator."""
