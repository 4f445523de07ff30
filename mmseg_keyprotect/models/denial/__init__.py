"""Training that denies users without the correct key."""

from mmseg_keyprotect.models.denial.denial import Denial

__all__ = ['Denial']
