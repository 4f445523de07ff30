"""Sources and sealed data sets that change, loop, lie or belong to somebody else."""

import json
import os
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from fsspec import AbstractFileSystem
from PIL import Image

from helpers.data_sets import contents, encrypt, seal, write_data_set
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import (
    ConfigError,
    DamagedFileError,
    KeyFileError,
    LicenceError,
    MissingDependencyError,
    MissingFileError,
    OutputError,
    SealedFileError,
    UnsupportedSpecError,
)
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import KeyRecipient, Signer
from mmseg_keyprotect.sealing.licences import Licence
from mmseg_keyprotect.sealing.recipients import recipient_of
from mmseg_keyprotect.sealing.sealed_files import sealing_into
from mmseg_keyprotect.sealing.signatures import publisher_of
from mmseg_keyprotect.shards import SealedDataSet, seal_data_set
from mmseg_keyprotect.shards.manifest import FORMAT, MANIFEST, PLAN, Place, make_key, open_key
from mmseg_keyprotect.shards.pairs import Layout
from mmseg_keyprotect.shards.storage import Storage, inside


def test_a_folder_that_cannot_be_listed(plain, key, monkeypatch):
    (plain / 'images/val').mkdir()
    scan = os.scandir

    def refusing(path):
        if str(path).endswith('val'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scan(path)

    monkeypatch.setattr(os, 'scandir', refusing)
    with pytest.raises(MissingFileError, match=r'images/val, but: Permission denied'):
        seal(plain, key)


def test_links_are_followed(plain, key, tmp_path):
    for part in ('images', 'annotations'):
        (plain / part / 'train').rename(tmp_path / part)
        (plain / part / 'train').symlink_to(tmp_path / part)
    (plain / 'linked.txt').symlink_to(plain / 'train.txt')
    assert seal(plain, key).files == 14
    data = SealedDataSet(tmp_path / 'sealed', key=key)
    assert data.read('linked.txt') == (plain / 'train.txt').read_bytes()
    assert data.read('images/train/000.png') == (tmp_path / 'images/000.png').read_bytes()
    (plain / 'train.txt').write_text('007')
    with pytest.raises(ConfigError, match='2 files differ'):
        seal(plain, key)


def test_what_no_folder_should_hold(plain, key):
    (plain / 'images/again').symlink_to(plain)
    with pytest.raises(ConfigError, match='leads to a folder around it'):
        seal(plain, key)
    (plain / 'images/again').unlink()
    os.mkfifo(plain / 'pipe')
    with pytest.raises(ConfigError, match='pipe or a device'):
        seal(plain, key)
    (plain / 'pipe').unlink()
    (plain / 'broken').symlink_to(plain / 'nowhere')
    with pytest.raises(MissingFileError, match='broken'):
        seal(plain, key)
    (plain / 'broken').unlink()
    (plain / 'C:').mkdir()
    (plain / 'C:/a.json').write_text('{}')
    with pytest.raises(ConfigError, match='every system'):
        seal(plain, key)


def test_names_of_a_manifest():
    assert inside('run:3/a.png')
    assert not any(map(inside, ('C:/a', '..', 'a/../b', '/a', '', 'a\0', 'a\\..\\b')))


@pytest.mark.parametrize('work', ['seal', 'encrypt'])
def test_a_file_that_changes_and_is_restored(work, plain, key, tmp_path, monkeypatch):
    """What was read meanwhile is not kept."""
    image, spare = plain / 'images/train/003.png', tmp_path / 'spare'
    shutil.copy2(image, spare)
    run = seal if work == 'seal' else encrypt
    names = Storage.names

    def changing(storage):
        Image.new('RGB', (18, 13)).save(image)
        return names(storage)

    monkeypatch.setattr(Storage, 'names', changing)
    with pytest.raises(ConfigError, match=r'003.png as it was when the work began, but it has changed'):
        run(plain, key)
    monkeypatch.undo()
    shutil.copy2(spare, image)
    run(plain, key)
    run(plain, key, name='other')
    if work == 'seal':
        assert SealedDataSet(tmp_path / 'sealed', key=key).read('images/train/003.png') == spare.read_bytes()
    else:
        made, other = (contents(tmp_path / name) for name in ('encrypted', 'other'))
        assert made == other


def test_a_plan_is_no_manifest(plain, key, tmp_path):
    """It has no files, and would verify."""
    (plain / 'images/train/003.png').write_bytes(b'none')
    with pytest.raises(Exception, match='003.png'):
        seal(plain, key)
    shutil.copy(tmp_path / 'sealed' / PLAN, tmp_path / 'sealed' / MANIFEST)
    with pytest.raises(SealedFileError, match='holds something else'):
        SealedDataSet(tmp_path / 'sealed', key=key)
    with pytest.raises(SealedFileError, match='holds something else'):
        seal(plain, key)


PLACE = ['a.png', 1, 'no hash', 0, 0]
MANIFESTS = {
    'another shard': dict(places=[['a.png', 1, '', 99, 0]]),
    'another file': dict(places=[['b.png', 1, '', 0, 0]]),
    'a missing file': dict(places=[]),
    'a path that is none': dict(shards=[[3]], places=[[3, 1, '', 0, 0]]),
    'a list as path': dict(shards=[[['a']]]),
    'negative': dict(places=[['a.png', -1, '', 0, 0]]),
    'shards that are none': dict(shards=3),
    'another kind': dict(kind=PLAN),
    'places that are none': dict(places=7),
    'no kind': dict(kind=None),
    'no salts': dict(salts=[]),
    'salts that are none': dict(salts={'x': 1}),
    'more': dict(more=1),
    'version': dict(format=f'{FORMAT}0', more=1),
}


@pytest.mark.parametrize('change', MANIFESTS)
def test_hostile_manifests(change, plain, key, tmp_path):
    """Whoever knows the public text of a recipient can make one."""
    seal(plain, key)
    storage = Storage(tmp_path / 'sealed')
    fields = dict(format=FORMAT, kind=MANIFEST, shards=[['a.png']], source=[], salts=[''], places=[PLACE], skipped={})
    fields |= MANIFESTS[change]
    of_data_set = open_key(storage, key=key)
    with storage.put(MANIFEST) as file, sealing_into(file, [KeyRecipient(of_data_set)], of_data_set.key_id) as writer:
        writer.write(json.dumps(fields).encode())
    with pytest.raises(UnsupportedSpecError if change == 'version' else SealedFileError):
        SealedDataSet(tmp_path / 'sealed', key=key)


def test_a_size_beyond_the_shard(plain, key, tmp_path):
    seal(plain, key)
    data = SealedDataSet(tmp_path / 'sealed', key=key)
    data.places['images/train/000.png'] = Place('images/train/000.png', 10**13, '', 0, 0)
    with pytest.raises(SealedFileError, match='another run'):
        data.read('images/train/000.png')
    assert any('another run' in problem for _, problem in data.verify())


def test_two_runs_make_one_key(plain, key, tmp_path):
    for url in (tmp_path / 'sealed', 'memory://two_runs'):
        make_key(Storage(url), [KeyRecipient(key)])
        with pytest.raises(OutputError):
            make_key(Storage(url), [KeyRecipient(key)])


def test_a_shard_in_the_place_of_another(plain, key, tmp_path):
    (plain / 'images/train/005.png').write_bytes(b'none')
    with pytest.raises(Exception, match='005.png'):
        seal(plain, key)
    first, second = (tmp_path / 'sealed' / f'shard-00000{number}.tar.sealed' for number in (0, 1))
    shutil.copy(first, second)
    for skip_bad in (False, True):
        with pytest.raises(DamagedFileError, match='shard-000001'):
            seal(plain, key, skip_bad=skip_bad)
    second.unlink()
    assert seal(plain, key, skip_bad=True).files == 11


def test_hidden_files_of_a_killed_run(plain, key, tmp_path):
    for name in ('sealed', 'encrypted'):
        (tmp_path / name).mkdir()
        (tmp_path / name / '.key.sealed.whole-1').touch()
    assert seal(plain, key).files == 13
    assert encrypt(plain, key).files == 6


def test_images_and_label_maps_in_one_folder(tmp_path, key):
    folder = write_data_set(tmp_path / 'plain', images='images', labels='labels')
    for label in (folder / 'labels').iterdir():
        image = folder / 'images' / label.name
        Image.open(image).save(folder / 'labels' / f'{label.stem}.jpg')
        image.unlink()
    layout = Layout('labels', 'labels', ('.jpg',))
    with pytest.raises(ConfigError, match='both become'):
        encrypt(folder, key, layout=layout)
    assert encrypt(folder, key, layout=layout, form='webdataset').files == 6


@pytest.mark.parametrize('form', ['folder', 'webdataset'])
def test_a_label_map_that_is_cut_off(form, plain, key):
    path = plain / 'annotations/train/003.png'
    path.write_bytes(path.read_bytes()[:-40])
    assert list(encrypt(plain, key, form=form, skip_bad=True).skipped) == ['images/train/003.png']


def test_a_missing_key_is_no_bad_image(plain, key, monkeypatch):
    def none(self, pixels):
        raise KeyFileError('Expected a key. Name one.')

    monkeypatch.setattr('mmseg_keyprotect.images.Encryptor.encrypt', none)
    with pytest.raises(KeyFileError):
        encrypt(plain, key, skip_bad=True)


def test_a_run_without_the_key_goes_on(plain, key, tmp_path, monkeypatch, capsys):
    """By the passphrase of the recipient, or by the identity of the environment."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'word').write_text('correct horse battery')
    (tmp_path / 'word').chmod(0o600)
    words = ['dataset', 'seal', 'plain', '-o', 'sealed', '--no-key', '--recipient-passphrase-file', 'word', '--verify']
    (plain / 'images/train/003.png').write_bytes(b'none')
    assert main(words) == 1
    assert main([*words, '--skip-bad']) == 0
    printed = capsys.readouterr()
    assert 'verified: 11 files' in printed.out
    assert '2 of its files are nowhere else' in printed.out
    assert SealedDataSet('sealed', passphrase='correct horse battery').places
    with pytest.raises(SystemExit):
        main(['dataset', 'seal', 'plain', '-o', 'other', '--no-key', '--recipient', recipient_of(key), '--verify'])


def test_a_signed_run_goes_on(plain, key, tmp_path, monkeypatch):
    """The plan is signed too."""
    signer = Signer(SecretKey.generate(), Licence(not_before='2999-01-01'))  # which the publisher need not wait for
    (plain / 'images/train/003.png').write_bytes(b'none')
    monkeypatch.setenv('KEYPROTECT_PUBLISHER', publisher_of(signer.key))
    with pytest.raises(Exception, match='003.png'):
        seal(plain, key, signer=signer)
    assert seal(plain, key, signer=signer, skip_bad=True).files == 11
    assert len(SealedDataSet(tmp_path / 'sealed', key=key, signer=signer).places) == 11
    with pytest.raises(LicenceError):
        SealedDataSet(tmp_path / 'sealed', key=key)


def test_what_is_not_copied_is_told(plain, key, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    key.save('my.key')
    (plain / 'classes.json').write_text('[]')
    assert main(['dataset', 'encrypt', 'plain', '-o', 'encrypted', '--key-file', 'my.key']) == 0
    assert 'not copied, since they are no images, label maps or lists: classes.json' in capsys.readouterr().err


@pytest.mark.parametrize('work', ['seal', 'encrypt'])
def test_a_run_beside_another(work, plain, key, tmp_path, monkeypatch):
    """Who comes second makes nothing again: the manifest of the first names its shards."""
    run = dict(seal=seal, encrypt=lambda *words, **options: encrypt(*words, form='webdataset', **options))[work]

    put = Storage.put

    def beside(storage, path, **options):
        if path.startswith('shard-'):
            monkeypatch.undo()
            run(plain, key)
        return put(storage, path, **options)

    monkeypatch.setattr(Storage, 'put', beside)
    with pytest.raises(OutputError, match='another run has made it'):
        run(plain, key, jobs=1)
    assert run(plain, key).made == 0
    if work == 'seal':
        assert {problem for _, problem in SealedDataSet(tmp_path / 'sealed', key=key).verify()} == {''}


def test_names_with_dots(plain, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key.save('my.key')
    for part in ('images', 'annotations'):
        (plain / part / 'train/003.png').rename(plain / part / 'train/0.3.png')
    words = ['--format', 'webdataset', '--key-file', 'my.key', '--skip-bad', '--verify']
    assert main(['dataset', 'encrypt', 'plain', '-o', 'encrypted', *words]) == 0


def test_from_memory(plain, key, tmp_path):
    there = Storage('memory://plain')
    for path, content in contents(plain).items():
        with there.put(path) as file:
            file.write(content)
    assert seal_data_set('memory://plain', tmp_path / 'sealed', [KeyRecipient(key)]).files == 13


class Refusing(AbstractFileSystem):
    """Storage with a folder that cannot be listed, and an object that stands for a folder."""

    def isdir(self, path):
        return True

    def ls(self, path, detail=True, **options):
        if path.endswith('annotations'):
            raise PermissionError(13, 'Permission denied', path)
        kinds = {'': 'file', 'images/': 'file', 'a.png': 'file', 'annotations': 'directory'}
        found = [dict(name=f'{path}/{name}', size=0, type=kind) for name, kind in kinds.items()]
        return found if detail else [one['name'] for one in found]


def test_other_storage(monkeypatch):
    there = Storage('memory://refusing')
    monkeypatch.setattr(there, '_fs', Refusing())
    with pytest.raises(MissingFileError, match='annotations, but: Permission denied'):
        there.walk()
    monkeypatch.setattr(Refusing, 'find', lambda self, path, **_: {one['name']: one for one in self.ls(path)[:3]})
    assert [file.path for file in there.walk()] == ['a.png']
    assert there.names() == {'a.png', 'annotations'}


@pytest.mark.parametrize('codecs', [True, False])
def test_compressed_tiff_of_many_channels(codecs, plain, key, monkeypatch):
    tifffile = pytest.importorskip('tifffile')
    (plain / 'images/train/003.png').unlink()
    image = np.ones((13, 18, 7), np.uint8)
    tifffile.imwrite(
        plain / 'images/train/003.tif', image, photometric='minisblack', planarconfig='contig', compression='zlib'
    )
    if not codecs:
        monkeypatch.setattr('mmseg_keyprotect.shards.pair_checks.find_spec', lambda name: None)
        with pytest.raises(MissingDependencyError, match='imagecodecs'):
            seal(plain, key)
    elif find_spec('imagecodecs'):
        assert seal(plain, key).files == 13


def test_links_that_lead_to_each_other(plain, key):
    for name, other in (('one', 'two'), ('two', 'one')):
        (plain / 'images' / name).mkdir()
        (plain / 'images' / name / 'link').symlink_to(plain / 'images' / other)
    with pytest.raises(ConfigError, match='leads to a folder around it'):
        seal(plain, key)
