"""Checks that the benchmark compares like with like: its peers encrypt as the ciphers do."""

import json
import runpy
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import ROOT
from mmseg_keyprotect.ciphers import build_cipher

TYPES = {'shuffle': 'Shuffle', 'negative-positive': 'NegativePositive', 'ffx': 'FFX'}


@pytest.mark.parametrize('words', [['shuffle'], ['negative-positive'], ['ffx'], ['shuffle', 'negative-positive']])
def test_the_published_implementation_encrypts_the_same(words, key):
    from benchmarks.speed.peers import Published

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        cipher = build_cipher([dict(type=TYPES[word], block_size=4, allow_weak=True) for word in words], key, 3)
    published = Published(words, 4)
    published.key = torch.from_numpy(cipher.transform.source)
    published.keyed = torch.from_numpy(cipher.transform.keyed | (cipher.transform.mask > 0))
    published.table = torch.arange(256).float() if cipher.transform.table is None else None
    if published.table is None:
        published.table = torch.from_numpy(cipher.transform.table.astype(np.float32))
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 8, 12), dtype=np.uint8))
    scale = published.table.max().item() if 'ffx' in words else 255
    got = (published(image.double() / 255 + 1e-9) * scale).round().short()
    assert torch.equal(got, cipher.encrypt(image).short())


def test_the_naive_implementation_is_a_block_transform():
    from benchmarks.speed.peers import naive_numpy

    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    moved = naive_numpy(['shuffle'], 4)(image)
    assert sorted(moved[:4, :4].ravel()) == sorted(image[:4, :4].ravel())
    flipped = naive_numpy(['negative-positive'], 4)(image)
    assert ((flipped == image) | (flipped == 255 - image)).all()
    assert naive_numpy(['ffx'], 4)(image).max() > 255


def test_turns_are_timed():
    from benchmarks.speed.timing import take_turns

    times = take_turns(dict(slow=lambda: time.sleep(0.02), fast=lambda: None), repeats=3)
    assert times['slow']['low'] <= times['slow']['ms'] <= times['slow']['high']
    assert times['slow']['ms'] >= 20 > times['fast']['ms']


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='reads the memory of a process as Linux gives it')
def test_opening_sealed_files(tmp_path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('safetensors')
    page, out = tmp_path / 'page.md', tmp_path / 'sealed.json'
    page.write_text('<!-- table sealed -->\n<!-- end -->\n')
    words = ['--megabytes', '8', '--turns', '1', '--page', str(page), '-o', str(out)]
    done = subprocess.run(
        [sys.executable, '-m', 'benchmarks.speed.sealed', *words], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    sizes = result['sizes']
    assert all(8e6 < sizes[name] < sizes[f'{name}.sealed'] < 1.01 * sizes[name] for name in ('pth', 'safetensors'))
    for kind, ways in (('pth', 2), ('safetensors', 4), ('onnx', 3)):
        found = result['found'][kind]
        assert [len(found[column]) for column in ('cached', 'disk', 'peak')] == [ways] * 3
        assert all(times['ms'] > 0 for times in found['cached'].values())
    assert 'ExportedModel, sealed' in page.read_text()
    assert 'ExportedModel, sealed' in done.stdout


@pytest.mark.slow
def test_the_tool(tmp_path, monkeypatch, capsys, real_data):
    real_data('camvid')
    page = tmp_path / 'page.md'
    page.write_text('<!-- table targets -->\n<!-- end -->\n')
    words = ['--repeats', '1', '--threads', '1', '--workers', '0', '--page', str(page), '-o', str(tmp_path / 'out')]
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *words])
    runpy.run_path(str(ROOT / 'tools' / 'benchmark.py'), run_name='__main__')
    result = json.loads((tmp_path / 'out' / 'benchmark.json').read_text())
    assert len(result['ciphers']) == 3 * 4 * 4
    assert set(result['inference']) == {'unprotected', 'preprocessor', 'block stem'}
    assert (tmp_path / 'out' / 'growth.png').stat().st_size > 10_000
    assert 'shuffle+negative-positive' in page.read_text()
    assert 'training step' in capsys.readouterr().out


def test_the_client(tmp_path):
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f'{number}.jpg')
    page, out = tmp_path / 'page.md', tmp_path / 'client.json'
    page.write_text('<!-- table client -->\n<!-- end -->\n')
    words = [tmp_path, '--repeats', 1, '--page', page, '-o', out]
    command = [sys.executable, '-m', 'benchmarks.speed.client', *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert (found['images'], found['size']) == (3, '60x40')
    assert '1 at once: keyprotect encrypt' in page.read_text()
