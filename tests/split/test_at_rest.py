"""One machine, one file: only the private part is sealed and marked, and the public weights serve every customer."""

import torch
from mmseg.apis import init_model

from helpers.private_side import save_private_side
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.config.view import load_quietly


def test_copies_for_customers(tmp_path, monkeypatch, key_file, capsys):
    cfg, checkpoint = save_private_side(tmp_path)
    cfg.dump(tmp_path / 'config.py')
    public = (tmp_path / 'public0.pth').read_bytes()
    for name in ('acme', 'beta'):
        words = ['protect', tmp_path / 'config.py', checkpoint, '--cipher', 'none', '--recipient', name, '--seal']
        assert main([*map(str, words), '-o', str(tmp_path / name)]) == 0
    copies = [tmp_path / name / 'private.pth' for name in ('acme', 'beta')]
    sizes = [path.stat().st_size for path in copies]
    private = sum(
        one.numel() * one.element_size() for one in torch.load(checkpoint, weights_only=True)['state_dict'].values()
    )
    assert max(sizes) < private + 60_000  # what torch writes for each tensor; nothing of the backbone
    assert (tmp_path / 'public0.pth').read_bytes() == public

    model = init_model(load_quietly(tmp_path / 'acme' / 'config.py'), str(copies[0]), 'cpu')
    backbone = torch.load(tmp_path / 'public0.pth', weights_only=True)
    assert all(torch.equal(model.backbone.state_dict()[name], one) for name, one in backbone.items())

    capsys.readouterr()
    assert main(['trace', str(copies[1]), '--original', str(checkpoint)]) == 0
    out = capsys.readouterr().out
    assert 'beta' in out
    assert 'acme' not in next(line for line in out.splitlines() if 'beta' in line)
