"""Sealed folders: the same files again, and nothing outside of the folder from a hostile archive."""

import io
import os
import tarfile

import pytest

from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import MissingFileError, OutputError, SealedFileError, WrongKeyError
from mmseg_keyprotect.sealing import (
    KeyRecipient,
    open_sealed,
    seal_file,
    seal_folder,
    sealed_output,
    unseal_file,
)
from mmseg_keyprotect.sealing.folders import holds_folder

pytestmark = pytest.mark.skipif(
    not hasattr(tarfile, 'data_filter'), reason='Python before 3.10.12 or 3.11.4 unseals no folder'
)


@pytest.fixture
def folder(tmp_path):
    """A model repository with an empty folder, a large file and a program."""
    root = tmp_path / 'model'
    (root / 'seg' / '1').mkdir(parents=True)
    (root / 'empty').mkdir()
    (root / 'seg' / 'config.pbtxt').write_text('name: "seg"')
    (root / 'seg' / '1' / 'model.plan').write_bytes(os.urandom(600_000))
    (root / 'seg' / 'ünïcode name.txt').write_text('')
    (root / 'run.sh').write_text('true')
    (root / 'run.sh').chmod(0o755)
    return root


def is_sealed_folder(path, key):
    with open_sealed(path, key) as reader:
        return holds_folder(reader)


def contents(root):
    return {
        path.relative_to(root).as_posix(): (path.is_dir() or path.read_bytes(), path.stat().st_mode & 0o700)
        for path in root.rglob('*')
    }


def archive(path, key, members, comment=True):
    """Seal an archive of one's own making."""
    headers = dict(comment='mmseg-keyprotect folder') if comment else {}
    with (
        sealed_output(path, [KeyRecipient(key)]) as writer,
        tarfile.open(fileobj=writer, mode='w|', format=tarfile.PAX_FORMAT, pax_headers=headers) as file,
    ):
        for member in members:
            file.addfile(member, io.BytesIO(b'x' * member.size))
    return path


def member(name, kind=tarfile.REGTYPE, **fields):
    found = tarfile.TarInfo(name)
    found.type = kind
    for field, value in fields.items():
        setattr(found, field, value)
    return found


def test_the_same_files_again(folder, key, other_key, tmp_path):
    seal_folder(folder, tmp_path / 'sealed', [KeyRecipient(key)])
    assert is_sealed_folder(tmp_path / 'sealed', key)
    unseal_file(tmp_path / 'sealed', tmp_path / 'again', key)
    assert contents(tmp_path / 'again') == contents(folder)
    assert b'config.pbtxt' not in (tmp_path / 'sealed').read_bytes()
    with pytest.raises(WrongKeyError):
        unseal_file(tmp_path / 'sealed', tmp_path / 'other', other_key)
    with pytest.raises(OutputError):
        unseal_file(tmp_path / 'sealed', tmp_path / 'again', key)
    assert not (tmp_path / 'other').exists()


def test_the_commands(folder, key_file, tmp_path, capsys):
    assert main(['seal', str(folder), '-o', str(tmp_path / 'sealed')]) == 0
    assert 'the plain folder is still there' in capsys.readouterr().out
    assert main(['unseal', str(tmp_path / 'sealed'), '-o', str(tmp_path / 'again')]) == 0
    assert f'plain folder: {tmp_path / "again"}' in capsys.readouterr().out
    assert contents(tmp_path / 'again') == contents(folder)


def test_a_sealed_archive_stays_a_file(folder, key, key_file, tmp_path, capsys):
    with tarfile.open(tmp_path / 'model.tar', 'w') as file:
        file.add(folder, 'model')
    seal_file(tmp_path / 'model.tar', tmp_path / 'sealed', [KeyRecipient(key)])
    assert not is_sealed_folder(tmp_path / 'sealed', key)
    assert main(['unseal', str(tmp_path / 'sealed'), '-o', str(tmp_path / 'again.tar')]) == 0
    assert (tmp_path / 'again.tar').read_bytes() == (tmp_path / 'model.tar').read_bytes()


@pytest.mark.parametrize(
    'hostile',
    [
        member('../outside', size=1),
        member('/outside', size=1),
        member('a/../../outside', size=1),
        member('link', tarfile.SYMTYPE, linkname='/etc/passwd'),
        member('link', tarfile.LNKTYPE, linkname='fine'),
        member('device', tarfile.CHRTYPE),
        member('pipe', tarfile.FIFOTYPE),
    ],
    ids=lambda one: f'{one.name} {one.type!r}',
)
def test_hostile_archives(hostile, key, tmp_path):
    (tmp_path / 'in').mkdir()
    path = archive(tmp_path / 'sealed', key, [member('fine', size=3), hostile])
    if hostile.name == '/outside':  # the leading slash is taken off
        unseal_file(path, tmp_path / 'in' / 'out', key)
        assert sorted(os.listdir(tmp_path / 'in' / 'out')) == ['fine', 'outside']
        return
    with pytest.raises(SealedFileError, match='Expected a sealed folder'):
        unseal_file(path, tmp_path / 'in' / 'out', key)
    assert os.listdir(tmp_path / 'in') == []
    assert sorted(os.listdir(tmp_path)) == ['in', 'sealed']


def test_the_same_name_twice(key, tmp_path):
    path = archive(tmp_path / 'sealed', key, [member('a', size=3), member('a', size=4)])
    with pytest.raises(SealedFileError, match='there twice'):
        unseal_file(path, tmp_path / 'out', key)
    assert not (tmp_path / 'out').exists()


def test_what_is_no_folder(key, tmp_path):
    with pytest.raises(MissingFileError):
        seal_folder(tmp_path / 'none', tmp_path / 'sealed', [KeyRecipient(key)])
    (tmp_path / 'model').mkdir()
    (tmp_path / 'model' / 'link').symlink_to('/etc/passwd')
    with pytest.raises(SealedFileError, match='is a link'):
        seal_folder(tmp_path / 'model', tmp_path / 'sealed', [KeyRecipient(key)])
    assert os.listdir(tmp_path) == ['model']


def test_an_empty_folder(key, tmp_path):
    (tmp_path / 'model').mkdir()
    seal_folder(tmp_path / 'model', tmp_path / 'sealed', [KeyRecipient(key)])
    unseal_file(tmp_path / 'sealed', tmp_path / 'out', key)
    assert list((tmp_path / 'out').iterdir()) == []


def test_links_to_the_folder_and_hard_links(folder, key, tmp_path):
    (folder / 'seg' / 'same').hardlink_to(folder / 'run.sh')
    (tmp_path / 'current').symlink_to(folder)
    seal_folder(tmp_path / 'current', tmp_path / 'sealed', [KeyRecipient(key)])
    unseal_file(tmp_path / 'sealed', tmp_path / 'again', key)
    assert contents(tmp_path / 'again') == contents(folder)


def test_a_folder_that_cannot_be_read(folder, key, tmp_path, monkeypatch):
    def scandir(path, scandir=os.scandir):
        if str(path).endswith('empty'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    with pytest.raises(SealedFileError, match='empty: Permission denied. Change'):
        seal_folder(folder, tmp_path / 'sealed', [KeyRecipient(key)])
    assert not (tmp_path / 'sealed').exists()


def test_a_file_that_names_the_comment(key, tmp_path):
    (tmp_path / 'code.py').write_text("_COMMENT = 'mmseg-keyprotect folder'\n" * 40)
    seal_file(tmp_path / 'code.py', tmp_path / 'sealed', [KeyRecipient(key)])
    assert not is_sealed_folder(tmp_path / 'sealed', key)


def test_a_sparse_file_of_a_few_bytes(key, tmp_path):
    bomb = member(
        'bomb', pax_headers={'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '99999999'}
    )
    bomb.size = 512
    with (
        sealed_output(tmp_path / 'sealed', [KeyRecipient(key)]) as writer,
        tarfile.open(
            fileobj=writer, mode='w|', format=tarfile.PAX_FORMAT, pax_headers=dict(comment='mmseg-keyprotect folder')
        ) as file,
    ):
        file.addfile(bomb, io.BytesIO(b'0\n'.ljust(512, b'\0')))
    with pytest.raises(SealedFileError, match='sparse'):
        unseal_file(tmp_path / 'sealed', tmp_path / 'out', key)
    assert not (tmp_path / 'out').exists()


def test_a_damaged_folder_leaves_nothing(folder, key, tmp_path):
    seal_folder(folder, tmp_path / 'sealed', [KeyRecipient(key)])
    content = bytearray((tmp_path / 'sealed').read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / 'sealed').write_bytes(content)
    with pytest.raises(SealedFileError, match='chunk'):
        unseal_file(tmp_path / 'sealed', tmp_path / 'out', key)
    assert not (tmp_path / 'out').exists()
