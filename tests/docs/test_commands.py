"""Runs the code blocks of every page, but those with the mark ``<!-- not run: REASON -->``.

Blocks with the mark ``slow`` run in the slow tests alone, and those with ``checkout`` in ``test_fresh_clone.py``.
"""

import ast
import os
import re
import shutil
import subprocess
import sys

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
CODE = (*SHELLS, 'python')
RUN = [page for page in ENGLISH if any(block.language in CODE for block in blocks(page))]
SLOW = [page for page in RUN if any(block.mark == 'slow' for block in blocks(page))]
LONG = (
    'docs/export.md',
    'docs/private_side.md',
    'docs/sealed.md',
    'docs/tutorial.md',
    'docs/user_guide.md',
)  # in the slow tests alone
SCHEDULE = 20_000  # iterations of my_config.py, of which `quick_training` runs three


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
        shutil.copytree(ROOT / 'configs', 'configs')
        cfg = small(Config.fromfile(PLAIN))
        cfg.work_dir = 'work'
        Runner.from_cfg(cfg).train()
        shutil.move('work/iter_2.pth', 'my_model.pth')
        shutil.rmtree('work')
        cfg.pop('work_dir')
        cfg.train_cfg.max_iters = cfg.train_cfg.val_interval = cfg.default_hooks.checkpoint.interval = SCHEDULE
        cfg.dump('my_config.py')
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


def run_page(page, reader, marks):
    for block in blocks(page):
        if block.mark in marks and block.language in CODE:
            reader.run(block, name_of(page))


@pytest.mark.parametrize(
    'page', [pytest.param(page, marks=pytest.mark.slow if name_of(page) in LONG else ()) for page in RUN], ids=name_of
)
def test_the_blocks_of_a_page_run(page, reader, quick_training):
    run_page(page, reader, (None, 'config'))


@pytest.mark.slow
@pytest.mark.parametrize('page', SLOW, ids=name_of)
def test_a_page_with_its_slow_blocks_runs(page, reader, quick_training):
    run_page(page, reader, (None, 'config', 'slow'))


@pytest.mark.parametrize('page', RUN, ids=name_of)
def test_marks_have_reasons(page):
    assert [block.line for block in blocks(page) if block.mark and not block.note] == []


SAMPLES = [
    (page, block) for page in ENGLISH for block in blocks(page) if re.search(r'(import|from) mmseg\b', block.text)
]


@pytest.mark.parametrize(('page', 'block'), SAMPLES, ids=[f'{name_of(page)}:{block.line}' for page, block in SAMPLES])
def test_the_imports_of_a_sample_work_in_a_new_process(page, block):
    """Beside mmcv-lite, ``mmseg.apis`` needs this package to be imported first."""
    imports = [node for node in ast.parse(block.text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    code = ast.unparse(ast.Module(imports, []))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


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
        reader.run(Block(language, text, 7), 'page.md')


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ("train_dataloader = dict(dataset=dict(pipeline=[dict(type='KeyedBlockEncrypt')]))", 'in every pipeline'),
        ("model = dict(type='EncoderDecoder')", 'Expected a model protected by'),
        ("test_pipeline = [dict(type='LoadEncryptedImage')]\nmodel = dict(type='Misspelt')", 'Misspelt is not in'),
    ],
)
def test_a_config_that_cannot_work_is_found(text, problem, reader):
    block = Block('python', f"_base_ = './my_config.py'\n{text}\n", 7, 'config', 'mine.py')
    with pytest.raises(BlockError, match=problem):
        reader.run(block, 'page.md')


def test_folder_variables_and_names_last_until_the_end_of_the_page(reader, capsys):
    text = (
        'mkdir sub\ncd sub\nNAME=$(echo second)\nexport KEY=$NAME.key  # a comment\nkeyprotect keygen \\\n    "$KEY"\n'
    )
    reader.run(Block('bash', text, 1), 'page.md')
    reader.run(Block('bash', 'ls second.key\nls ../my.key\nls $KEY | grep key', 9), 'page.md')
    reader.run(Block('bash', 'keyprotect keygen ~/other.key\nls ~/other.key', 15), 'page.md')
    reader.run(Block('python', "from pathlib import Path\npath = Path('second.key')", 20), 'page.md')
    reader.run(Block('python', 'if not path.exists(): raise ValueError(path)', 30), 'page.md')
    assert 'second.key' in capsys.readouterr().out
