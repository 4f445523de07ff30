"""Fine-tune a model: a bound one, so that it denies users without the correct key, or a plain one with a watermark."""

from mmseg_keyprotect.fine_tuning.deny import deny_checkpoint
from mmseg_keyprotect.fine_tuning.folded_norms import FoldedNormsHook
from mmseg_keyprotect.fine_tuning.val_loop import DenialValLoop, ValidateFirstHook
from mmseg_keyprotect.fine_tuning.watermark import watermark_checkpoint

__all__ = ['DenialValLoop', 'FoldedNormsHook', 'ValidateFirstHook', 'deny_checkpoint', 'watermark_checkpoint']
