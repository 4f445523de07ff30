"""A toy attack."""

from mmseg_keyprotect.audit.attack import Attack, AttackResult
from mmseg_keyprotect.audit.attacks import register_attack
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform


@register_attack
class ToyRotations(Attack):
    """Try every rotation on the first pair of images."""

    name = 'toy-rotations'
    needs = ('pairs',)

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Return the rotation that turns the plain image into the encrypted one."""
        (plain, encrypted), info = view.pairs[0], view.cipher_info
        before, after = info.blocks([plain]), info.blocks([encrypted])
        rotations = [[(k + places) % info.samples for k in range(info.samples)] for places in range(info.samples)]
        found = next(source for source in rotations if (before[:, source] == after).all())
        return AttackResult('Every rotation tried.', key=BlockTransform(found), images=1)
