"""Read the signs of channels off the weights, without any image."""

from __future__ import annotations

from mmseg_keyprotect.audit.attack import Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.norm_gains import GainSigns
from mmseg_keyprotect.audit.view import View


class NormGainSigns(Attack):
    """Take every negative gain of a normalisation layer before a place as a changed sign.

    The attack finds no order. Its estimate has the signs of the channels as the weights store them.
    """

    name = 'norm-gain-signs'
    needs = ('weights',)
    seeks = 'feature maps'

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Read the signs."""
        if not view.sought_feature_cipher.has_signs:
            raise NotApplicable('the key changes no signs')
        signs = GainSigns(view)
        if not signs.before:
            raise NotApplicable('no normalisation layer stands before an encrypted place')
        negative = sum(int((one < 0).sum()) for one in signs.before.values())
        total = sum(map(len, signs.before.values()))
        stayed = ' Images stayed plain.' if view.cipher_info.bits else ''
        return AttackResult(f'{negative} of {total} gains are negative.{stayed}', features=signs.unordered())
