"""The package as MIM's users have it: built, installed into an environment of its own, run by `mim`."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from packaging.requirements import Requirement

from mmseg_keyprotect.demo.scenes import write_demo_scenes
from mmseg_keyprotect.engine.weights_only import load_weights_only
from mmseg_keyprotect.keys import SecretKey

ROOT = Path(__file__).parents[1]
FILES = ['LICENSE', 'MANIFEST.in', 'Makefile', 'model-index.yml', 'pyproject.toml', 'requirements.txt', 'setup.cfg']
FOLDERS = ['configs', 'docs', 'mmseg_keyprotect', 'tools']
PAGES = sorted((ROOT / 'configs').glob('*/README.md'))
PROTECTED = 'segformer_mit-b0_shfnp-b4_1xb8-0.4k_demo-128x128'
PLAIN = 'configs/segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'
MIM_TOOLS = [
    'audit',
    'claim',
    'dataset',
    'demo',
    'deny',
    'encrypt',
    'evaluate',
    'evaluate_access',
    'export',
    'inspect_sealed',
    'keygen',
    'protect',
    'protect_checkpoint',
    'protect_config',
    'recipients',
    'record',
    'rekey',
    'rekey_checkpoint',
    'seal',
    'seal_checkpoint',
    'split',
    'test',
    'trace',
    'train',
    'unseal',
    'verify',
    'watermark',
]
WORDS = {'shf': 'shuffle', 'np': 'negative-positive', 'shfnp': 'shuffle+negative-positive'}
BLOCKS_OF_8 = [f'model.data_preprocessor.cipher.{part}.block_size=8' for part in (0, 1)]


def run(*command, **options):
    """Run a command; return what it said, which also stands in the message if it fails."""
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, **options)
    assert done.returncode == 0, f'{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}'
    return done.stdout + done.stderr


def copy_tree(target):
    """Copy what is shipped, and two things that must never be."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
    for path in [ROOT / name for name in FILES] + list(ROOT.glob('*.md')):
        shutil.copy(path, target)
    (target / 'tools' / '__pycache__').mkdir()
    (target / 'tools' / '__pycache__' / 'train.cpython-311.pyc').touch()
    (target / 'configs' / 'my.key').touch()
    return target


class Installation:
    """An environment in which the project is installed, and a folder to work in."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / 'env' / ('Scripts' if os.name == 'nt' else 'bin')
        self.python = self.bin / 'python'
        left_out = ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV')
        self.env = {name: value for name, value in os.environ.items() if name not in left_out}
        self.env.update(PATH=f'{self.bin}{os.pathsep}{os.environ["PATH"]}', KEYPROTECT_KEY_FILE=str(folder / 'my.key'))
        self.env['OMP_NUM_THREADS'] = '1'

    def run_python(self, *arguments):
        return run(self.python, *arguments, cwd=self.folder, env=self.env)

    def mim(self, *arguments):
        return self.run_python('-m', 'mim', *arguments)

    def shipped(self, name):
        """Find a file of ``.mim`` in the environment."""
        code = 'import mmseg_keyprotect; print(mmseg_keyprotect.__file__)'
        return Path(self.run_python('-c', code).strip()).parent / '.mim' / name

    def tiny(self):
        """Make the options by which a demo config runs for seconds."""
        data = write_demo_scenes(self.folder / 'scenes', 8, 2, size=(128, 128))
        options = [f'{name}_dataloader.dataset.data_root={data}' for name in ('train', 'val', 'test')]
        for name in ('train', 'val', 'test'):
            options += [f'{name}_dataloader.num_workers=0', f'{name}_dataloader.persistent_workers=False']
        options += ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2']
        return ['--cfg-options', *options, 'default_hooks.checkpoint.interval=2']


@pytest.fixture(scope='module')
def wheels(tmp_path_factory):
    """A wheel built from the tree, and one built from a source distribution."""
    folder = tmp_path_factory.mktemp('build')
    tree = copy_tree(folder)
    wheel = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--no-index', '-w']
    code = 'from setuptools.build_meta import build_sdist; build_sdist("dist")'
    run(sys.executable, '-c', code, cwd=tree)
    (source,) = (tree / 'dist').glob('*.tar.gz')
    run(*wheel, tree / 'from_source', source, cwd=folder)
    run(*wheel, tree / 'from_tree', tree, cwd=folder)
    return [next((tree / kind).glob('*.whl')) for kind in ('from_tree', 'from_source')], source


@pytest.fixture(scope='module')
def installed(wheels, tmp_path_factory):
    """The project installed from the wheel; its dependencies come from the running interpreter, by a .pth file."""
    here = Installation(tmp_path_factory.mktemp('user'))
    venv.create(here.folder / 'env', symlinks=os.name != 'nt')
    run(sys.executable, '-m', 'pip', '--python', here.python, 'install', '--no-deps', '--no-index', wheels[0][1])
    packages = here.run_python('-c', 'import sysconfig; print(sysconfig.get_path("purelib"))').strip()
    dependencies = dict.fromkeys(sysconfig.get_path(kind) for kind in ('purelib', 'platlib'))
    Path(packages, 'dependencies.pth').write_text('\n'.join(dependencies) + '\n')
    return here


@pytest.fixture(scope='module')
def key_id(installed):
    output = installed.mim('run', 'mmseg_keyprotect', 'keygen', 'my.key')
    return re.search(r'key id: ([0-9a-f]{16})', output)[1]


@pytest.fixture(scope='module')
def trained(installed, key_id):
    """A checkpoint that `mim train` made from a config given by its bare name, with another block size."""
    arguments = ['--work-dir', 'by_name', *installed.tiny(), *BLOCKS_OF_8]
    installed.mim('train', 'mmseg_keyprotect', f'{PROTECTED}.py', *arguments)
    return installed.folder / 'by_name' / 'iter_2.pth'


def test_wheel_holds_all_that_mim_needs(wheels):
    (from_tree, from_source), source = wheels
    names = set(zipfile.ZipFile(from_tree).namelist())
    assert names == set(zipfile.ZipFile(from_source).namelist())
    wanted = [path for kind in ('*.py', '*.md', '*.yaml') for path in (ROOT / 'configs').rglob(kind)]
    wanted += [ROOT / 'tools' / f'{name}.py' for name in MIM_TOOLS]
    wanted.append(ROOT / 'model-index.yml')
    prefix = 'mmseg_keyprotect/.mim/'
    assert {name for name in names if name.startswith(prefix)} == {
        f'{prefix}{path.relative_to(ROOT).as_posix()}' for path in wanted
    }
    assert not [name for name in names if re.search(r'__pycache__|\.key$|(^|/)(tests|benchmarks|data)/', name)]
    assert [name for name in names if name.endswith('.dist-info/licenses/LICENSE')]
    with zipfile.ZipFile(from_tree) as wheel:
        (top_level,) = (name for name in names if name.endswith('top_level.txt'))
        assert wheel.read(top_level).split() == [b'mmseg_keyprotect']
    with tarfile.open(source) as archive:
        assert not [name for name in archive.getnames() if name.endswith(('.key', '.pyc'))]


def test_installation_is_a_regular_one(installed):
    code = (
        'import mmseg_keyprotect, importlib.metadata as m; d = m.distribution("mmseg-keyprotect"); '
        'print(mmseg_keyprotect.__file__, d.locate_file("").resolve(), sep="\\n")'
    )
    module, metadata = installed.run_python('-c', code).splitlines()
    for path in (module, metadata):
        assert Path(path).resolve().is_relative_to((installed.folder / 'env').resolve())
    for name in ('tools/train.py', PLAIN, 'model-index.yml'):
        path = installed.shipped(name)
        assert path.is_file()
        assert path.resolve().is_relative_to((installed.folder / 'env').resolve())


def test_index_lists_every_config_once():
    models = []
    for name in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']:
        index = yaml.safe_load((ROOT / name).read_text())
        (collection,) = index['Collections']
        assert (ROOT / collection['README']).is_file()
        assert {model['In Collection'] for model in index['Models']} == {collection['Name']}
        used = {model['Results']['Dataset'] for model in index['Models']}
        assert used == set(collection['Metadata']['Training Data'])
        models += index['Models']
    configs = [path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').glob('[!_]*/*.py')]
    assert sorted(model['Config'] for model in models) == sorted(configs)
    for model in models:
        assert model['Name'] == Path(model['Config']).stem
        if images := re.search(r'_(\d+)xb(\d+)-', model['Name']):  # the others are not trained
            assert model['Metadata']['Batch Size'] == int(images[1]) * int(images[2])
        protection = re.search(r'_(shf|np|ffx|shfnp)-b(\d+)(?:-stem)?(?:-features)?(?:-denial|-unkey)?_', model['Name'])
        words, block_size = protection.groups() if protection else ('none', None)
        assert model['Metadata']['Cipher'] == WORDS.get(words, words)
        assert model['Metadata'].get('Block Size') == (block_size and int(block_size))
        assert model['Metadata'].get('Stem') == ('block' if re.search('-stem[_-]', model['Name']) else None)
        assert ('Features' in model['Metadata']) == bool(re.search('features[_-]', model['Name']))


def test_base_names_are_unique():
    """MIM looks a bare config name up in the whole package."""
    names = [path.name for path in (ROOT / 'configs').glob('[!_]*/*.py')]
    assert len(set(names)) == len(names)
    modules = {path.name for path in (ROOT / 'mmseg_keyprotect').rglob('*.py') if '.mim' not in path.parts}
    assert not modules & set(names)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.parent.name)
def test_page_tells_what_is_in_the_folder(page, tmp_path):
    text = page.read_text(encoding='utf-8')
    assert set(re.findall(r'\]\((\w\S+\.py)\)', text)) == {path.name for path in page.parent.glob('*.py')}
    commands = ''.join(re.findall(r'```shell\n(.*?)```', text, flags=re.S))
    for name in re.findall(r'(?:configs/\w+/|mmseg_keyprotect )(\S+\.py)', commands):
        assert (page.parent / name).is_file()
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    (code,) = re.findall(r'```python\n(.*?)```', text, flags=re.S)
    new = tmp_path / re.match(r'# (configs/\S+)\n', code)[1]
    assert not new.exists()
    new.write_text(code)
    if page.parent.name == 'private_side':
        assert Config.fromfile(new).model.neck.in_channels == [256, 512, 1024, 2048]
        return
    protection = re.search(r'protections/(\w+)-b(\d+)', code)
    assert f'_{protection[1]}-b{protection[2]}_' in new.name
    cfg = Config.fromfile(new)
    assert cfg.model.data_preprocessor.type == 'KeyedSegDataPreProcessor'
    assert cfg.model.data_preprocessor.cipher.block_size == int(protection[2])
    assert cfg.model.data_preprocessor.mean


def test_wheel_and_source_pass_the_check_of_the_index(wheels):
    (from_tree, _), source = wheels
    assert run(sys.executable, '-m', 'twine', 'check', '--strict', from_tree, source).count('PASSED') == 2


def test_extras_lay_no_mmcv_over_a_full_one(wheels):
    """`[mmseg]` beside a full mmcv leaves it alone; mmcv-lite, of the same folder, has an extra of its own."""
    (from_tree, _), _ = wheels
    with zipfile.ZipFile(from_tree) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
        metadata = message_from_string(wheel.read(name).decode())
    needs: dict[str, set[str]] = {}
    for line in metadata.get_all('Requires-Dist'):
        requirement = Requirement(line)
        extra = re.search(r'extra == .([\w-]+).', str(requirement.marker or ''))
        needs.setdefault(extra[1] if extra else '', set()).add(requirement.name.lower())
    assert needs[''] == {'cryptography', 'numpy', 'pillow', 'wrapt'}
    assert {'torch', 'mmengine', 'mmsegmentation'} <= needs['mmseg']
    assert not {'mmcv', 'mmcv-lite', 'mmcv-full'} & needs['mmseg']
    assert needs['mmcv-lite'] == {'mmcv-lite'}
    assert set(metadata.get_all('Provides-Extra')) >= {'mmseg', 'mmcv-lite', 'mim', 'reference', 'test', 'lint'}


def test_the_command_is_installed(installed):
    command = installed.bin / 'keyprotect'
    assert run(command, '--version', cwd=installed.folder, env=installed.env).startswith('mmseg-keyprotect ')
    out = run(command, 'demo', '--help', cwd=installed.folder, env=installed.env)
    assert out.startswith('usage: keyprotect demo')
    assert installed.shipped('configs/segformer/segformer_mit-b0_shfnp-b4_1xb8-0.4k_demo-128x128.py').is_file()


def test_mim_lists_the_package(installed):
    assert re.search(r'^mmseg-keyprotect +\d', installed.mim('list'), re.M)


def test_mim_searches_models(installed):
    output = installed.mim('search', 'mmseg_keyprotect')
    assert sorted(re.findall(r'config id: (\S+)', output)) == sorted(
        path.stem for path in (ROOT / 'configs').glob('[!_]*/*.py')
    )
    output = installed.mim('search', 'mmseg-keyprotect', '--config', PROTECTED)
    assert re.findall(r'config id: (\S+)', output) == [PROTECTED]
    assert re.search(r'^cipher +shuffle\+negative-positive$', output, re.M)
    assert re.search(r'^training_data +demo scenes$', output, re.M)


def test_mim_runs_keygen(installed, key_id):
    assert SecretKey.load(installed.folder / 'my.key').key_id == key_id


def test_mim_finds_every_tool(installed):
    assert sorted(path.stem for path in installed.shipped('tools').glob('*.py')) == MIM_TOOLS


def test_mim_trains_by_name(trained, key_id):
    meta = load_weights_only(trained, 'checkpoint')['meta']['keyprotect']
    assert (meta['key_id'], meta['cipher']) == (key_id, 'shuffle+negative-positive/M=8')


def test_mim_tests_by_name(installed, trained):
    arguments = ['--checkpoint', trained, '--work-dir', 'tested', *installed.tiny(), *BLOCKS_OF_8]
    assert re.search(r'mIoU: +\d', installed.mim('test', 'mmseg_keyprotect', f'{PROTECTED}.py', *arguments))


@pytest.mark.slow
def test_mim_seals_and_tests_the_sealed_checkpoint(installed, trained):
    installed.mim('run', 'mmseg_keyprotect', 'seal_checkpoint', 'seal', trained, '-o', 'sealed.pth')
    arguments = ['--checkpoint', 'sealed://sealed.pth', '--work-dir', 'sealed', *installed.tiny(), *BLOCKS_OF_8]
    assert re.search(r'mIoU: +\d', installed.mim('test', 'mmseg_keyprotect', f'{PROTECTED}.py', *arguments))


@pytest.mark.slow
def test_mim_runs_the_tools_on_a_config_of_ones_own(installed, key_id):
    """Protect a config, train it, test it, and measure the access, all by `mim run`."""
    mim_run = ['run', 'mmseg_keyprotect']
    installed.mim(*mim_run, 'protect_config', installed.shipped(PLAIN), '--cipher', 'ffx', '-o', 'own.py')
    installed.mim(*mim_run, 'train', 'own.py', '--work-dir', 'own', *installed.tiny())
    checkpoint = installed.folder / 'own' / 'iter_2.pth'
    assert load_weights_only(checkpoint, 'checkpoint')['meta']['keyprotect']['cipher'] == 'ffx/M=4'
    assert 'mIoU' in installed.mim(*mim_run, 'test', 'own.py', checkpoint, '--work-dir', 'own', *installed.tiny())
    arguments = ['--wrong-keys', '1', '--data', 'scenes', '-o', 'access']
    assert 'wrong key' in installed.mim(*mim_run, 'evaluate_access', 'own.py', checkpoint, *arguments)
    assert json.loads((installed.folder / 'access' / 'access.json').read_text())['key_id'] == key_id
    arguments = ['--attacks', 'chosen-images', '--images', '2', '--data', 'scenes', '-o', 'audit']
    assert 'FALLS: the whole key' in installed.mim(*mim_run, 'audit', 'own.py', checkpoint, *arguments)
    assert 'chosen-images' in (installed.folder / 'audit' / 'audit.html').read_text()


@pytest.mark.slow
def test_everything_from_the_index(tmp_path):
    """Nothing but `pip install .[mim]` in an empty environment, in the versions that were tried together."""
    here = Installation(tmp_path / 'user')
    (tmp_path / 'tree').mkdir()
    tree = copy_tree(tmp_path / 'tree')
    venv.create(here.folder / 'env', symlinks=os.name != 'nt', with_pip=True)
    here.run_python('-m', 'pip', 'install', '-q', '-c', tree / 'requirements.txt', f'{tree}[mim]')
    here.run_python('-m', 'pip', 'check')
    assert 'mmseg-keyprotect' in here.mim('list')
    here.mim('run', 'mmseg_keyprotect', 'keygen', 'my.key')
    here.mim('train', 'mmseg_keyprotect', f'{PROTECTED}.py', '--work-dir', 'by_name', *here.tiny())
    assert (here.folder / 'by_name' / 'iter_2.pth').is_file()
