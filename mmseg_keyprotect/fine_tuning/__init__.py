"""Fine-tune a bound model, so that it denies users without the correct key."""

from mmseg_keyprotect.fine_tuning.deny import deny_checkpoint
from mmseg_keyprotect.fine_tuning.val_loop import DenialValLoop, ValidateFirstHook

__all__ = ['DenialValLoop', 'ValidateFirstHook', 'deny_checkpoint']
