"""The score of an estimate, against chance."""

import numpy as np
import pytest

from helpers import CIPHERS
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.key_shares import Share, key_shares
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.keys import SecretKey

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')


def build(name, rng):
    cfg = CIPHERS[name]
    if name.startswith('reference'):
        cfg = {**cfg, 'seed': int(rng.integers(2**32))}
        if name.endswith('FFX'):
            cfg['password'] = str(rng.integers(2**32))
    return build_cipher(cfg, key=SecretKey.from_bytes(rng.bytes(32)))


@pytest.mark.parametrize('name', sorted(CIPHERS))
def test_the_key_itself_has_all(name):
    cipher = build(name, np.random.default_rng(0))
    shares = key_shares(cipher.transform, cipher.transform, CipherInfo.of(cipher))
    assert {share.right for share in shares} == {1.0}
    wanted = {'order': 'shuffle' in name or 'SHF' in name, 'signs': 'negative' in name or 'NP' in name}
    wanted |= dict.fromkeys(('positions', 'table'), 'ffx' in name or 'FFX' in name)
    assert {share.part for share in shares} == {part for part, there in wanted.items() if there}


@pytest.mark.parametrize('name', sorted(CIPHERS))
def test_random_keys_have_what_chance_says(name):
    rng = np.random.default_rng(1)
    correct = build(name, rng)
    found = {}
    trials = 60 if name == 'reference-FFX' else 300  # pyffx is slow
    for _ in range(trials):
        for share in key_shares(build(name, rng).transform, correct.transform, CipherInfo.of(correct)):
            found.setdefault(share.part, []).append(share)
    for part, shares in found.items():
        spread = np.std([share.right for share in shares]) / np.sqrt(trials)
        chance = shares[0].chance
        assert abs(np.mean([share.right for share in shares]) - chance) < 4 * spread + 1e-3, part
        assert np.mean([share.above_chance for share in shares]) < 0.02


def test_above_chance():
    assert Share('signs', 1.0, 0.5, 48).above_chance
    assert not Share('signs', 0.6, 0.5, 48).above_chance
    assert not Share('order', 2 / 48, 1 / 48, 48).above_chance
    assert Share('order', 8 / 48, 1 / 48, 48).above_chance
