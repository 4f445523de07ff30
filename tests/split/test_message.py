"""The message of feature maps: what is sent arrives, and nothing else is read."""

import doctest
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmseg_keyprotect.errors import FeatureMessageError
from mmseg_keyprotect.models.private_side import segmentor, side_network
from mmseg_keyprotect.split import FeatureMessage, parts
from mmseg_keyprotect.split import message as module
from mmseg_keyprotect.split.message import VERSION

SIZE = np.array([VERSION, 64, 48], np.int64)


def message(dtype=np.float16):
    rng = np.random.default_rng(0)
    return FeatureMessage(
        (64, 48), [rng.normal(size=(8, 16, 12)).astype(dtype), rng.normal(size=(3, 4, 3)).astype(dtype)]
    )


def content(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('dtype', [np.float16, np.float32])
def test_what_is_sent_arrives(dtype, compressed):
    sent = message(dtype)
    found = FeatureMessage.from_bytes(sent.to_bytes(compressed))
    assert found.size == (64, 48)
    for one, other in zip(sent.features, found.features, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_compression_saves_bytes():
    zeros = FeatureMessage((64, 48), [np.zeros((8, 16, 12), np.float16)])
    assert len(zeros.to_bytes(compressed=True)) < len(zeros.to_bytes()) / 2


def test_numpy_reads_it():
    with np.load(io.BytesIO(message().to_bytes()), allow_pickle=False) as found:
        assert found['size'].tolist() == [VERSION, 64, 48]
        assert sorted(found) == ['feature_0', 'feature_1', 'size']


def with_header(shape):
    """Return a message whose header of feature_0 promises another shape than its data have."""
    file, array = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(array, dict(shape=shape, fortran_order=False, descr='<f2'))
    with zipfile.ZipFile(file, 'w') as archive:
        for name, data in (('size.npy', None), ('feature_0.npy', array.getvalue() + bytes(16))):
            if data is None:
                one = io.BytesIO()
                np.save(one, SIZE)
                data = one.getvalue()
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_an_array_twice_is_refused():
    file, one = io.BytesIO(), io.BytesIO()
    np.save(one, SIZE)
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('size.npy', one.getvalue())
        archive.writestr('size.npy', one.getvalue())
    with pytest.raises(FeatureMessageError, match='names an array twice'):
        FeatureMessage.from_bytes(file.getvalue())


FEATURE = np.zeros((2, 4, 4), np.float16)


def packed(method):
    """Return a message that is compressed in another way."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', method) as archive:
        for name, array in (('size', SIZE), ('feature_0', FEATURE)):
            with archive.open(f'{name}.npy', 'w') as member:
                np.save(member, array)
    return file.getvalue()


HOSTILE = {
    'empty': b'',
    'no npz': b'PK\x03\x04' + bytes(64),
    'no features': content(size=SIZE),
    'no size': content(feature_0=FEATURE),
    'another array': content(size=SIZE, feature_0=FEATURE, more=FEATURE),
    'a gap': content(size=SIZE, feature_1=FEATURE),
    'another version': content(size=np.array([9, 64, 48], np.int64), feature_0=FEATURE),
    'a size of 0': content(size=np.array([VERSION, 0, 48], np.int64), feature_0=FEATURE),
    'a size of text': content(size=np.array(['a', 'b', 'c']), feature_0=FEATURE),
    'integers': content(size=SIZE, feature_0=FEATURE.astype(np.int16)),
    'two axes': content(size=SIZE, feature_0=FEATURE[0]),
    'not finite': content(size=SIZE, feature_0=np.full_like(FEATURE, np.inf)),
    'objects': content(size=SIZE, feature_0=np.array([[[{}]]], object)),
    'a header that promises more': with_header((2**20, 2**20, 2)),
    'a header that promises less': with_header((1, 1, 2)),
    'a bomb': content(np.savez_compressed, size=SIZE, feature_0=np.zeros((1, 2**10, 2**10), np.float16)),
    'bzip2': packed(zipfile.ZIP_BZIP2),
    'LZMA': packed(zipfile.ZIP_LZMA),
    'many arrays': content(size=SIZE, **{f'feature_{number}': FEATURE for number in range(300)}),
}


@pytest.mark.parametrize('case', HOSTILE)
def test_hostile_messages_are_refused(case):
    with pytest.raises(FeatureMessageError, match='Expected feature maps as the public part sends them, but'):
        FeatureMessage.from_bytes(HOSTILE[case], most=2**20)


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_harmless(place, value):
    whole = bytearray(message().to_bytes(compressed=True))
    whole[place % len(whole)] = value
    try:
        found = FeatureMessage.from_bytes(bytes(whole))
    except FeatureMessageError:
        return
    assert all(np.isfinite(feature).all() for feature in found.features)


@pytest.mark.parametrize('one', [module, parts, segmentor, side_network], ids=lambda one: one.__name__)
def test_the_examples_run(one):
    found = doctest.testmod(one)
    assert found.attempted
    assert found.failed == 0
