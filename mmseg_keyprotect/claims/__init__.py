"""Claim a model that can only be asked: does it answer images encrypted with the owner's key as plain ones?"""

from mmseg_keyprotect.claims.ask import Ask, ask_checkpoint, ask_exported, ask_server
from mmseg_keyprotect.claims.claim import Claim, make_claim
from mmseg_keyprotect.claims.page import write_claim

__all__ = ['Ask', 'Claim', 'ask_checkpoint', 'ask_exported', 'ask_server', 'make_claim', 'write_claim']
