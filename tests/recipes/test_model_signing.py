"""Runs the commands of docs/sealed.md that sign a sealed file by the OpenSSF's model-signing, and verify it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ROOT
from helpers.markdown import blocks
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import (
    KeyRecipient,
    PublicRecipient,
    add_recipients,
    open_sealed,
    recipient_of,
    seal_file,
    seal_folder,
)

KEYS, SIGN, VERIFY = (
    block.text for block in blocks(ROOT / 'docs' / 'sealed.md') if block.note.startswith('needs model-signing')
)


@pytest.fixture
def folder(tmp_path, key, monkeypatch):
    """A folder with a sealed file."""
    pytest.importorskip('model_signing', reason='needs model-signing: make test-recipes')
    if not shutil.which('openssl'):
        pytest.skip('needs openssl')
    monkeypatch.chdir(tmp_path)
    Path('my_model.pth').write_bytes(os.urandom(600_000))
    seal_file('my_model.pth', 'sealed.pth', [KeyRecipient(key)], key.key_id)
    return tmp_path


def shell(text, succeeds=True):
    """Run commands; return what they print."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    done = subprocess.run(['bash', '-euc', text], env=dict(os.environ, PATH=path), text=True, capture_output=True)
    assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
    return done.stdout + done.stderr


def change(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_sealed_file(folder, key):
    shell(KEYS + SIGN)
    assert 'succeeded' in shell(VERIFY)
    with open_sealed('sealed.pth', key) as file:  # signing left the file as it was
        assert file.read() == Path('my_model.pth').read_bytes()
    change(folder / 'sealed.pth')
    assert 'mismatch' in shell(VERIFY, succeeds=False).lower()


def test_a_signature_of_another(folder):
    shell(KEYS + SIGN)
    shutil.move('sealed.pth.sig', 'real.sig')
    shell(KEYS + SIGN.replace('sealed.pth.sig', 'other.sig'))  # new keys
    assert 'succeeded' in shell(VERIFY.replace('sealed.pth.sig', 'other.sig'))
    shell(VERIFY.replace('sealed.pth.sig', 'real.sig'), succeeds=False)


def test_a_copy_for_another_recipient_needs_its_own_signature(folder, key):
    shell(KEYS + SIGN)
    shutil.move('sealed.pth', 'first.pth')
    customer = PublicRecipient(recipient_of(SecretKey.generate()))
    add_recipients('first.pth', 'sealed.pth', [customer], key)
    shell(VERIFY, succeeds=False)
    shell(SIGN)
    shell(VERIFY)


def test_a_folder_with_sealed_files(folder, key):
    """What is published: a sealed folder, a plain card. A changed and an added file are found."""
    Path('repository').mkdir()
    Path('repository', 'config.pbtxt').write_text('name: "seg"')
    Path('published').mkdir()
    seal_folder('repository', 'published/repository.sealed', [KeyRecipient(key)])
    Path('published', 'README.md').write_text('A card.')
    sign, verify = (
        text.replace('sealed.pth.sig', 'p.sig').replace('sealed.pth', 'published') for text in (SIGN, VERIFY)
    )
    shell(KEYS + sign)
    shell(verify)
    Path('published', 'added').write_text('')
    shell(verify, succeeds=False)
    Path('published', 'added').unlink()
    shell(verify)
    change(folder / 'published' / 'repository.sealed')
    shell(verify, succeeds=False)
