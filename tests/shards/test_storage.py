"""Data sets in object storage, behind moto's server, which speaks the protocol of S3, and in memory."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from torch.utils.data import DataLoader

from helpers.data_sets import contents, write_data_set
from mmseg_keyprotect.errors import MissingDependencyError, MissingFileError
from mmseg_keyprotect.sealing import KeyRecipient
from mmseg_keyprotect.shards import SealedDataSet, encrypt_data_set, seal_data_set
from mmseg_keyprotect.shards.storage import Storage


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of a server on this machine."""
    server = pytest.importorskip('moto.server').ThreadedMotoServer(port=0)
    pytest.importorskip('s3fs')
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (('ENDPOINT_URL', f'http://{host}:{port}'), ('ACCESS_KEY_ID', 'x'), ('SECRET_ACCESS_KEY', 'x')):
        monkeypatch.setenv(f'AWS_{name}', value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs('bucket', exist_ok=True)  # moto keeps it
    yield 's3://bucket'
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_from_storage_to_storage(bucket, key, tmp_path):
    plain = write_data_set(tmp_path / 'plain')
    remote = Storage(f'{bucket}/plain')
    for path, content in contents(plain).items():
        with remote.put(path) as file:
            file.write(content)
    summary = seal_data_set(remote.url, f'{bucket}/sealed', [KeyRecipient(key)], key=key, shard_bytes=2000, jobs=2)
    assert summary.made > 2
    assert seal_data_set(remote.url, f'{bucket}/sealed', [KeyRecipient(key)], key=key, shard_bytes=2000).made == 0
    data = SealedDataSet(f'{bucket}/sealed', key=key)
    assert {path: data.read(path) for path in data.places} == contents(plain)
    assert {problem for _, problem in data.verify()} == {''}
    encrypt_data_set(remote.url, 'memory://encrypted', key, jobs=2)
    encrypt_data_set(plain, tmp_path / 'encrypted', key, jobs=2)
    there = Storage('memory://encrypted')
    local = contents(tmp_path / 'encrypted')
    assert {file.path: there.read(file.path) for file in there.walk() if file.path != 'encrypted.json'} == {
        path: content for path, content in local.items() if path != 'encrypted.json'
    }


def test_workers_read_from_object_storage(bucket, key, tmp_path, monkeypatch):
    """Each process has connections of its own."""
    plain = write_data_set(tmp_path / 'plain')
    key.save(tmp_path / 'my.key')
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(tmp_path / 'my.key'))
    seal_data_set(plain, f'{bucket}/trained', [KeyRecipient(key)], jobs=2)
    init_default_scope('mmseg')
    found = {}
    for root, loading, options in (
        (str(plain), ('LoadImageFromFile', 'LoadAnnotations'), {}),
        (f'{bucket}/trained', ('LoadSealedImage', 'LoadSealedAnnotations'), dict(backend='sealed_data_set')),
    ):
        dataset = BaseSegDataset(
            data_prefix=dict(img_path=f'{root}/images/train', seg_map_path=f'{root}/annotations/train'),
            img_suffix='.png',
            pipeline=[dict(type=kind) for kind in (*loading, 'PackSegInputs')],
            backend_args=options or None,
        )
        _ = dataset[0]
        found[root] = list(DataLoader(dataset, batch_size=None, num_workers=2))
    one, other = found.values()
    assert len(one) == len(other) == 6
    assert all(torch.equal(a['inputs'], b['inputs']) for a, b in zip(one, other, strict=True))


def test_what_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match='nowhere'):
        Storage(tmp_path / 'nowhere').walk()
    with pytest.raises(MissingFileError):
        Storage('memory://nowhere').read('a.png')
    with pytest.raises(MissingFileError, match='protocol|Protocol'):
        Storage('nonsense://a')


def test_without_the_package_for_a_url(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'gcsfs', None)
    with pytest.raises(MissingDependencyError, match=r'gcsfs'):
        Storage('gs://bucket')


def test_an_error_writes_nothing(tmp_path):
    for url in (str(tmp_path / 'folder'), 'memory://folder'):
        folder = Storage(url)
        with pytest.raises(KeyError), folder.put('a/b.txt') as file:  # noqa: PT012
            file.write(b'half')
            raise KeyError
        assert not folder.exists('a/b.txt')
