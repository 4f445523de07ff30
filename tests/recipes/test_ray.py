"""Data sets at rest by Ray Data, on a real cluster of two nodes of this machine."""

import pytest

from helpers.data_sets import contents, write_data_set
from mmseg_keyprotect.errors import ImageFormatError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import KeyRecipient
from mmseg_keyprotect.shards import SealedDataSet, encrypt_data_set, seal_data_set

pytest.importorskip('ray')


@pytest.fixture(scope='module')
def key_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('key') / 'my.key'
    SecretKey.generate().save(path)
    return path


@pytest.fixture(scope='module', autouse=True)
def cluster(key_file):
    """Two nodes, whose workers find the key by their environment, as on other machines."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('KEYPROTECT_KEY_FILE', str(key_file))
        patch.setenv('RAY_USAGE_STATS_ENABLED', '0')
        nodes = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1))
        nodes.add_node(num_cpus=1)
        ray.init(address=nodes.address, log_to_driver=False)
        assert len(ray.nodes()) == 2
        yield
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture
def plain(tmp_path):
    return write_data_set(tmp_path / 'plain', count=30)


def test_sealing(plain, key_file, tmp_path):
    key = SecretKey.load(key_file)
    summary = seal_data_set(
        plain, tmp_path / 'sealed', [KeyRecipient(key)], key.key_id, key=key, shard_bytes=4000, engine='ray'
    )
    assert summary.made > 5
    data = SealedDataSet(tmp_path / 'sealed', key=key)
    assert {path: data.read(path) for path in data.places} == contents(plain)
    assert [problem for _, problem in data.verify() if problem] == []


@pytest.mark.parametrize('form', ['folder', 'webdataset'])
def test_encrypting(form, plain, tmp_path):
    options = dict(form=form, shard_bytes=4000)
    summary = encrypt_data_set(plain, tmp_path / 'ray', engine='ray', **options)
    assert (summary.files, summary.made) == (30, 30)
    encrypt_data_set(plain, tmp_path / 'threads', **options)
    assert contents(tmp_path / 'ray') == contents(tmp_path / 'threads')
    if form == 'folder':
        (tmp_path / 'ray/images/train/003.png').unlink()
        assert encrypt_data_set(plain, tmp_path / 'ray', engine='ray', **options).made == 1


def test_a_problem_on_a_node_is_told(plain, tmp_path):
    (plain / 'images/train/003.png').write_bytes(b'none')
    with pytest.raises(ImageFormatError, match='images/train/003.png'):
        encrypt_data_set(plain, tmp_path / 'ray', engine='ray')
    assert list(encrypt_data_set(plain, tmp_path / 'ray', engine='ray', skip_bad=True).skipped) == [
        'images/train/003.png'
    ]
