"""`protect --recipient`, `trace` and `record`, as an owner types them."""

import json
import os

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from helpers.small_configs import small_config
from mmseg_keyprotect.cli.main import main


@pytest.fixture
def folder(tmp_path, monkeypatch, key_file):
    """A folder with a configuration, its checkpoint and the owner's key, which the environment names."""
    monkeypatch.chdir(tmp_path)
    cfg = Config(small_config('.'))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    cfg.dump('plain.py')
    torch.save(dict(meta={}, state_dict=model.state_dict()), 'plain.pth')
    return tmp_path


def protect(*words):
    return main(['protect', 'plain.py', 'plain.pth', *words])


def test_from_the_copy_to_the_recipient(folder, other_key_file, capsys):
    assert protect('-o', 'one', '--recipient', 'acme', '--cipher', 'none') == 0
    out = capsys.readouterr().out
    assert 'record:               test.key.records/acme.' in out.replace(f'{folder}/', '')
    assert out.endswith('The model is marked, and bound to no key.\n')
    words = ['--recipient', 'globex', '--strength', '0.01', '--key-file', 'other.key', '--owner-key-file', 'test.key']
    assert protect('-o', 'two', *words, '--seal', '--records', 'test.key.records') == 0
    assert main(['trace', 'one/plain.pth', '--original', 'plain.pth']) == 0
    out = capsys.readouterr().out
    assert 'traced: It carries the mark of acme; chance of an error: at most 1e-30.' in out
    os.environ['KEYPROTECT_SEAL_KEY_FILE'] = 'other.key'
    try:
        assert main(['trace', 'two/plain.pth', '--original', 'plain.pth']) == 0
    finally:
        del os.environ['KEYPROTECT_SEAL_KEY_FILE']
    assert 'It carries the mark of globex' in capsys.readouterr().out


def test_a_commitment(folder, capsys):
    for name in ('acme', 'globex'):
        assert protect('-o', name, '--recipient', name, '--cipher', 'none', '--records', 'records') == 0
    assert main(['record', '--records', 'records', '-o', 'commitment.json']) == 0
    assert 'commitment to 2 records' in capsys.readouterr().out
    assert sorted(json.loads((folder / 'commitment.json').read_text())) == [
        'date', 'key_ids', 'originals', 'records', 'version',
    ]  # fmt: skip
    (folder / 'opened').mkdir()
    (acme,) = (folder / 'records').glob('acme.*')
    acme.rename(folder / 'opened' / acme.name)
    verify = ['record', '--verify', 'commitment.json', '--records', 'opened', '--original', 'plain.pth']
    assert main(verify) == 0
    out = capsys.readouterr().out
    assert 'records that the commitment holds: 1 opened, 1 others' in out
    (folder / 'opened' / acme.name).write_text((folder / 'opened' / acme.name).read_text().replace('acme', 'evil'))
    assert main(verify) == 1
    assert 'error: Expected a commitment to the record of evil' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'text'),
    [
        (['protect', 'plain.py', '-o', 'x.py', '--recipient', 'acme'], 'CHECKPOINT is needed for --recipient'),
        (['protect', 'plain.py', 'plain.pth', '-o', 'x', '--strength', '0.1'], '--recipient is needed for --strength'),
        (['record'], 'either -o, or --verify'),
        (['record', '-o', 'x', '--verify', 'y'], 'either -o, or --verify'),
    ],
)
def test_arguments_that_do_not_fit_together(words, text, folder, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'text'),
    [
        (['--recipient', 'a/b'], 'Expected a recipient of 1 to 64'),
        (['--recipient', 'acme', '--strength', '3'], 'Expected a strength from 0.0001 to 0.1'),
        (['--cipher', 'none'], 'Expected something to encrypt'),
    ],
)
def test_what_is_refused(words, text, folder, capsys):
    assert protect('-o', 'x', *words) == 1
    assert f'error: {text}' in capsys.readouterr().err
    assert not (folder / 'x').exists()


def test_records_need_a_place(folder, capsys, monkeypatch):
    monkeypatch.delenv('KEYPROTECT_KEY_FILE')
    with pytest.raises(SystemExit):
        main(['trace', 'plain.pth', '--original', 'plain.pth'])
    assert '--records or a key file is needed' in capsys.readouterr().err
