"""The audit of a small trained model: what it writes, what it keeps, what it refuses."""

import json
import re

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.run import run_audit
from mmseg_keyprotect.errors import ConfigError, DamagedFileError, MissingFileError, OutputError

QUICK = ['chosen-images', 'known-pairs']


@pytest.fixture
def model(tiny, tmp_path):
    cfg = tiny()
    Runner.from_cfg(cfg).train()
    return cfg, str(tmp_path / 'work' / 'iter_2.pth')


def run(model, folder, attacks=QUICK, minutes=0.02, images=2, **options):
    return run_audit(*model, folder, attacks, minutes, images, held_out=2, **options)


def test_report_is_written_and_finished_attacks_are_not_run_again(model, tmp_path, capsys, key_file, monkeypatch):
    folder = tmp_path / 'audit'
    report = run(model, folder)
    assert [finding.attack for finding in report.findings] == QUICK
    assert all(finding.whole_key for finding in report.findings)
    assert all(report.falls(finding) for finding in report.findings)
    assert report.findings[0].mIoU == report.reference['correct key']
    assert set(report.reference) == {'correct key', 'no key', 'floor'}
    assert 'FALLS to 2 of 2 attacks' in report.verdict
    written = json.loads((folder / 'audit.json').read_text())
    assert written['findings'][0]['verdict'] == 'FALLS: the whole key'
    assert written['findings'][1]['needs'] == ['pairs']
    assert '| chosen-images | encryptor' in (folder / 'audit.md').read_text()
    page = (folder / 'audit.html').read_text()
    assert 'FALLS to 2 of 2 attacks' in page
    assert not re.search(r"""(src|href)=["']?http|url\(http""", page)

    capsys.readouterr()
    monkeypatch.setattr(ATTACKS['chosen-images'], 'run', None)
    again = run(model, folder, [*QUICK, 'exhaustive'])
    assert capsys.readouterr().out.count('done before') == 2
    assert again.findings[:2] == report.findings
    assert 'exhaustive' in (folder / 'audit.md').read_text()
    line = key_file.read_text().splitlines()[-1]
    assert not any(line in path.read_text() for path in folder.iterdir())

    with pytest.raises(OutputError, match='is that of another'):
        run(model, folder, images=3)
    (folder / 'known-pairs.json').write_text('{')
    with pytest.raises(DamagedFileError, match='is damaged'):
        run(model, folder)


def test_what_cannot_work_is_refused(model, tmp_path):
    with pytest.raises(ConfigError, match='attacks out of .*exhaustive.*, but got magic'):
        run(model, tmp_path / 'audit', attacks=['magic', 'exhaustive'])
    with pytest.raises(ConfigError, match='Expected 1 to 6 images'):
        run(model, tmp_path / 'audit', images=7)
    with pytest.raises(ConfigError, match='above 0'):
        run(model, tmp_path / 'audit', minutes=0)
    with pytest.raises(MissingFileError, match='Expected a checkpoint file'):
        run(model, tmp_path / 'audit', public_weights=str(tmp_path / 'none.pth'))
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'thesis.txt').touch()
    with pytest.raises(OutputError, match='holds thesis'):
        run(model, tmp_path / 'full')
    cfg = Config({name: value for name, value in model[0].items() if name != 'train_dataloader'})
    with pytest.raises(ConfigError, match='test images that are not held out'):
        run((cfg, model[1]), tmp_path / 'audit')
    assert not (tmp_path / 'audit').exists()
