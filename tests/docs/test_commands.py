"""Runs the code blocks of every page, but those with the mark ``<!-- not run: REASON -->``."""

import os
import re
import shutil

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import IterBasedTrainLoop, Runner
from PIL import Image

from helpers import ROOT
from helpers.markdown import CHINESE, Block, blocks, name_of, pages
from helpers.page_runner import SHELLS, BlockError, PageRunner
from mmseg_keyprotect.config.edit import set_data_root
from mmseg_keyprotect.demo.scenes import write_demo_scenes
from mmseg_keyprotect.keys import SecretKey

PLAIN = ROOT / 'configs' / 'segformer' / 'segformer_mit-b0_1xb8-0.4k_demo-128x128.py'
ENGLISH = [page for page in pages() if not page.is_relative_to(CHINESE)]
RUN = [page for page in ENGLISH if any(block.language in (*SHELLS, 'python') for block in blocks(page))]


def small(cfg):
    """Return a config cut to two iterations on small images, which reads its data from data/."""
    set_data_root(cfg, 'data')
    options = {
        'train_dataloader.batch_size': 2,
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2,
        'default_hooks.checkpoint.interval': 2,
        'model.data_preprocessor.size': (64, 64),
        'log_level': 'ERROR',
    }
    for split in ('train', 'val', 'test'):
        options.update({f'{split}_dataloader.num_workers': 0, f'{split}_dataloader.persistent_workers': False})
    cfg.merge_from_dict(options)
    cfg.train_dataloader.dataset.pipeline[2].crop_size = (64, 64)
    return cfg


@pytest.fixture(scope='module')
def template(tmp_path_factory):
    """A folder with what every page may use: a key, an unprotected config with its checkpoint and data, and photos."""
    folder = tmp_path_factory.mktemp('template')
    before = os.getcwd()
    os.chdir(folder)
    try:
        SecretKey.generate().save('my.key')
        write_demo_scenes('data', num_train=6, num_val=3, size=(98, 110))
        cfg = small(Config.fromfile(PLAIN))
        cfg.dump('my_config.py')
        cfg.work_dir = 'work'
        Runner.from_cfg(cfg).train()
        shutil.move('work/iter_2.pth', 'my_model.pth')
        shutil.rmtree('work')
        os.mkdir('photos')
        for number in range(3):
            picture = np.random.default_rng(number).integers(0, 256, (98, 110, 3), dtype=np.uint8)
            Image.fromarray(picture).save(f'photos/{number}.jpg')
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def reader(template, tmp_path, monkeypatch):
    """A runner in a copy of that folder; what a page changes in the process ends with it."""
    folder = tmp_path / 'reader'

    def copy(source, target):  # a page never writes to the large files
        return os.link(source, target) if source.endswith(('.pth', '.png')) else shutil.copy2(source, target)

    shutil.copytree(template, folder, copy_function=copy)
    before = dict(os.environ)
    monkeypatch.chdir(folder)
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', 'my.key')
    (tmp_path / 'home').mkdir()
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    try:
        yield PageRunner(folder)
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def quick_training(monkeypatch):
    """Let a training go from its second iteration to its last, so that its checkpoint has the name on the page.

    Images are loaded in this process: each worker of a loader that is garbage takes five seconds to end.
    """
    run_iter, build_dataloader = IterBasedTrainLoop.run_iter, Runner.build_dataloader

    def run_and_jump(loop, data_batch):
        run_iter(loop, data_batch)
        if loop._iter == 2:
            loop._iter = max(2, loop._max_iters - 1)

    def build_without_workers(dataloader, *args, **kwargs):
        if isinstance(dataloader, dict):
            dataloader = dict(dataloader, num_workers=0, persistent_workers=False)
        return build_dataloader(dataloader, *args, **kwargs)

    monkeypatch.setattr(IterBasedTrainLoop, 'run_iter', run_and_jump)
    monkeypatch.setattr(Runner, 'build_dataloader', staticmethod(build_without_workers))


@pytest.mark.parametrize('page', RUN, ids=name_of)
def test_the_blocks_of_a_page_run(page, reader, quick_training):
    for block in blocks(page):
        if block.not_run is None and block.language in (*SHELLS, 'python'):
            reader.run(block, name_of(page))


@pytest.mark.parametrize('page', RUN, ids=name_of)
def test_marks_have_reasons(page):
    assert [block.line for block in blocks(page) if block.not_run == ''] == []


@pytest.mark.parametrize('page', sorted(CHINESE.glob('*.md')), ids=name_of)
def test_a_translation_has_the_same_blocks(page):
    """Comments may be translated, so they are left out of the comparison."""
    english = ROOT / 'README.md' if page.name == 'index.md' else ROOT / 'docs' / page.name

    def code(page):
        lines = [re.sub(r'(^|\s+)#.*$', '', block.text, flags=re.MULTILINE).strip() for block in blocks(page)]
        return [(block.language, text) for block, text in zip(blocks(page), lines, strict=True)]

    assert code(page) == code(english)


@pytest.mark.parametrize(
    ('language', 'text'),
    [
        ('bash', 'keyprotect keygen my.key'),  # exists
        ('bash', 'keyprotect encrypt photos'),  # no -o
        ('bash', 'keyprotect keygen my.key | cat'),
        ('bash', 'ls nothing\nls photos'),
        ('bash', 'for key in my.key; do\n  keyprotect keygen $key\ndone'),
        ('python', 'undefined'),
    ],
)
def test_a_block_that_fails_is_found(language, text, reader):
    with pytest.raises(BlockError, match='page.md, block at line 7: '):
        reader.run(Block(language, text, 7, None), 'page.md')


def test_folder_variables_and_names_last_until_the_end_of_the_page(reader, capsys):
    text = (
        'mkdir sub\ncd sub\nNAME=$(echo second)\nexport KEY=$NAME.key  # a comment\nkeyprotect keygen \\\n    "$KEY"\n'
    )
    reader.run(Block('bash', text, 1, None), 'page.md')
    reader.run(Block('bash', 'ls second.key\nls ../my.key\nls $KEY | grep key', 9, None), 'page.md')
    reader.run(Block('bash', 'keyprotect keygen ~/other.key\nls ~/other.key', 15, None), 'page.md')
    reader.run(Block('python', "from pathlib import Path\npath = Path('second.key')", 20, None), 'page.md')
    reader.run(Block('python', 'if not path.exists(): raise ValueError(path)', 30, None), 'page.md')
    assert 'second.key' in capsys.readouterr().out
