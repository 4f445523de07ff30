"""The data preprocessor that encrypts images on the device, between the pipeline and the network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER, KeyedCipher, PlainImages
from mmseg_keyprotect.ciphers.blocks import PaddingSize, round_to_blocks
from mmseg_keyprotect.ciphers.build import CipherConfig
from mmseg_keyprotect.ciphers.checksum import image_checksum
from mmseg_keyprotect.ciphers.labels import LabelPadding
from mmseg_keyprotect.config.checks.order import NO_BATCH_AUGMENTS
from mmseg_keyprotect.config.view import META_KEYS
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError, ImageFormatError, WrongKeyError
from mmseg_keyprotect.keys.identity import Identity
from mmseg_keyprotect.models.denial.denial import Denial

Encryption = KeyedCipher | PlainImages


@MODELS.register_module()
class KeyedSegDataPreProcessor(SegDataPreProcessor):
    """Encrypts images with a key before it normalises, pads and stacks them as MMSegmentation's preprocessor does.

    The network gets bit for bit the input that the transform ``KeyedBlockEncrypt`` and the plain preprocessor give.
    Images that the transform has encrypted with the same key and cipher pass through: the data sample marks them, with
    a checksum of the image. The mark leaves the sample, and the preprocessor sets none. The state dict gets one entry,
    ``protection``: public text (spec version, key id, cipher) as uint8. So every tool refuses to load a checkpoint that
    was made with another key.

    Args:
        cipher: A cipher's configuration or a list of them. Defaults to Shuffle, then NegativePositive, M = 4.
        key: A key's configuration. Defaults to the file that the variable KEYPROTECT_KEY_FILE names.
        key_id: If set, the id that the key must have.
        channel_order: ``'bgr'`` or ``'rgb'``, the order in which the pipeline loads colour images. OpenMMLab loads BGR.
        pad_mode: How images are extended to whole blocks: ``'replicate'``.
        label_pad_vals: The values that extend ground truth other than segmentation, by their names in the data
            sample, for example ``dict(gt_height_map=-1)``. By default 255 for ``gt_edge_map`` and 0 for
            ``gt_depth_map``, which MMSegmentation's losses ignore.
        **kwargs: The arguments of MMSegmentation's SegDataPreProcessor. ``size`` must be a multiple of the block size,
            and ``batch_augments`` must be empty, since it runs after the encryption.

    Raises:
        BlockAlignmentError: ``size`` is not a multiple of the block size, or an image is smaller than one block.
        WrongKeyError: Images were encrypted with another key or cipher, or a checkpoint was made with another.
        ImageFormatError: An image cannot be encrypted, a sample marks another image as encrypted, or a label map has
            another size than its image in training.
        ConfigError: ``batch_augments`` is set, or samples in training have ground truth of a kind whose ignored value
            is unknown.

    Example:
        >>> import torch
        >>> from mmseg_keyprotect.keys import SecretKey
        >>> preprocessor = KeyedSegDataPreProcessor(key=SecretKey.generate(), mean=[127.5] * 3, std=[127.5] * 3)
        >>> image = torch.randint(256, (3, 30, 41), dtype=torch.uint8)
        >>> preprocessor(dict(inputs=[image]))['inputs'].shape
        torch.Size([1, 3, 32, 44])
    """

    def __init__(
        self,
        cipher: CipherConfig = DEFAULT_CIPHER,
        key: Any = None,
        key_id: str | None = None,
        channel_order: str = 'bgr',
        pad_mode: str = 'replicate',
        label_pad_vals: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._check_batch_augments()
        self.label_padding = LabelPadding('gt_sem_seg', self.seg_pad_val, label_pad_vals)
        cipher_of_the_key = KeyedCipher(cipher, key, key_id, channel_order, pad_mode)
        self.encryption: Encryption = cipher_of_the_key
        """How ``forward`` encrypts images."""
        self.identity = Identity(cipher_of_the_key.key_id, cipher_of_the_key.name)
        self.register_buffer('protection', self.identity.to_tensor())
        self.denial: Denial | None = None
        """The denial that the model is trained with, if any. Only training mode uses it."""
        self.channels: int | None = None
        """The channels of the images that the block stem has absorbed the key for; None without a block stem."""

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Encrypt, normalise, pad and stack a batch.

        Args:
            data: ``inputs``, a list of tensors (C, H, W), uint8 or floating point of whole numbers from 0 to 255;
                and ``data_samples``, as from PackSegInputs.
            training: Whether label maps are extended with the images.

        Returns:
            ``inputs``, a float tensor (N, C, H, W), and ``data_samples``. In the training of a model with ``denial``
            also ``denied``: images of the batch as users without the correct key send them, a float tensor
            (K, C, H, W) of the first K for each of
            :meth:`~mmseg_keyprotect.models.denial.denial.Denial.encryptions`.
        """
        data = self.cast_data(data)
        denial, cipher = self.denial, self.keyed_cipher
        if not (training and self.training) or denial is None or cipher is None:
            return self.prepare(data, training, self.encryption)
        denied = []
        for users in denial.encryptions(cipher, data['data_samples']):
            samples = [sample.clone() for sample in data['data_samples'][: len(users)]]
            batch = dict(inputs=data['inputs'][: len(users)], data_samples=samples)
            denied.append(self.prepare(batch, True, users)['inputs'])
        return dict(self.prepare(data, True, self.encryption), denied=denied)

    def prepare(self, data: dict, training: bool, encryption: Encryption | Sequence[Encryption]) -> dict[str, Any]:
        """Prepare a batch as ``forward`` does, with the encryption of any user.

        Args:
            data: As of ``forward``, on the device. The dict and its samples are changed in place.
            training: As of ``forward``.
            encryption: How the user encrypts images: a cipher with their key, or
                :class:`~mmseg_keyprotect.ciphers.plain.PlainImages` without one; or one encryption for every image.

        Returns:
            ``inputs`` and ``data_samples``, as of ``forward``.
        """
        samples = data.get('data_samples')
        self._check_batch_augments()
        users = encryption if isinstance(encryption, Sequence) else [encryption] * len(data['inputs'])
        self._check_size(self.size if training else (self.test_cfg or {}).get('size'), users[0].block_size)
        images = zip(data['inputs'], samples or [None] * len(users), users, strict=True)
        encrypted = [self._encrypt(image, sample, training, user) for image, sample, user in images]
        data['inputs'] = [image for image, _ in encrypted]
        data = super().forward(data, training)
        if samples is not None and training:
            for sample in data['data_samples']:
                self._pad_stacked_labels(sample)
        elif samples is not None:
            for sample, (image, padding) in zip(data['data_samples'], encrypted, strict=True):
                self._record_padding(sample, image, padding)
        return data

    @property
    def keyed_cipher(self) -> KeyedCipher | None:
        """The cipher with its key; None for a preprocessor without a key."""
        return self.encryption if isinstance(self.encryption, KeyedCipher) else None

    def without_key(self) -> KeyedSegDataPreProcessor:
        """Return a copy that leaves images plain, as for a user without a key; this preprocessor stays as it is."""
        other = copy.deepcopy(self)
        other.encryption = PlainImages(self.encryption.block_size)
        return other

    def _encrypt(
        self, image: Tensor, sample: SegDataSample | None, training: bool, encryption: Encryption
    ) -> tuple[Tensor, PaddingSize]:
        """Return an encrypted image and its padding (left, right, top, bottom); extend its label maps in training."""
        padding = (0, 0, 0, 0) if sample is None else tuple(sample.get('padding_size', (0, 0, 0, 0)))
        cipher = encryption if isinstance(encryption, KeyedCipher) else None
        if self.channels is not None and image.ndim == 3 and len(image) != self.channels:
            raise ImageFormatError(
                f'Expected images of {self.channels} channels, as the block stem has, but got {len(image)}. '
                "Load greyscale images with color_type='color', or set in_channels of the backbone to theirs."
            )
        if sample is not None and 'key_id' in sample:
            if cipher is not None:
                self._check_same(sample, image, cipher)
            for name in META_KEYS:  # they belong to this image; the sample may come back with another one
                sample.pop(name, None)
            if cipher is not None:
                return image, padding
        size = image.shape[-2:]
        image, added = encryption.encrypt(image)
        if sample is not None and training:
            self._pad_labels(sample, size, added)
        return image, tuple(a + b for a, b in zip(padding, added, strict=True))

    def _check_same(self, sample: SegDataSample, image: Tensor, cipher: KeyedCipher) -> None:
        """Check that an image which is marked as encrypted was encrypted with this cipher and key.

        Raises:
            WrongKeyError: Another key or cipher encrypted it.
            ImageFormatError: The mark is that of another image.
        """
        got = (sample.key_id, sample.get('cipher'))
        if got != (cipher.key_id, cipher.name):
            raise WrongKeyError(
                f'Expected images encrypted with the key {cipher.key_id} by {cipher.name}, or plain ones, but got '
                f'the key {got[0]} and {got[1]}. Give pipeline and preprocessor the same key and cipher.'
            )
        checksum = sample.get('encrypted_checksum')
        if checksum is None:
            raise ImageFormatError(
                'Expected `encrypted_checksum` in a data sample that has `key_id`, but got none. Add it to meta_keys '
                'of PackSegInputs; for a plain image, give a data sample without `key_id`.'
            )
        if checksum != image_checksum(image):
            raise ImageFormatError(
                'Expected the encrypted image that its data sample describes, but got another one, plain or changed '
                'after the encryption. For a plain image, give a data sample without `key_id`.'
            )

    def _pad_labels(self, sample: SegDataSample, size: torch.Size, padding: PaddingSize) -> None:
        """Extend the label maps of an image as the image was extended to whole blocks."""
        labels = _labels(sample)
        self.label_padding.check(labels)
        for name in labels:
            label = sample.get(name).data
            if label.shape[-2:] != size:
                if not self.training:  # a test pipeline resizes images alone, and tools prepare them as for training
                    continue
                raise ImageFormatError(
                    f'Expected `{name}` to be as large as its image, {tuple(size)}, but got '
                    f'{tuple(label.shape[-2:])}. Resize, crop and flip image and label together in the pipeline.'
                )
            padded = F.pad(label, padding, value=self.label_padding.value(name))
            sample.set_data({name: PixelData(data=padded)})

    def _pad_stacked_labels(self, sample: SegDataSample) -> None:
        """Extend the label maps to the size of the batch; mmseg extends three kinds, and all by ``seg_pad_val``."""
        height, width = sample.img_shape
        for name in _labels(sample):
            if name != 'gt_sem_seg':
                label = sample.get(name).data[..., :height, :width]
                padded = F.pad(label, sample.padding_size, value=self.label_padding.value(name))
                sample.set_data({name: PixelData(data=padded)})

    def _record_padding(self, sample: SegDataSample, image: Tensor, padding: PaddingSize) -> None:
        """Record the padding of mmseg and that to whole blocks together, by which mmseg crops predictions.

        ``padding_size`` stays the pipeline's own: it would be added again if the sample came back with another image.
        """
        stacked = sample.get('img_padding_size', (0, 0, 0, 0)) if self.test_cfg else (0, 0, 0, 0)
        total = tuple(a + b for a, b in zip(padding, stacked, strict=True))
        shape = sample.pad_shape[:2] if self.test_cfg else image.shape[-2:]
        sample.set_metainfo(dict(img_padding_size=total, pad_shape=tuple(shape)))

    def _check_batch_augments(self) -> None:
        """Raise ConfigError where mmseg's ``forward`` would augment the encrypted batch."""
        if self.batch_augments:
            raise ConfigError(NO_BATCH_AUGMENTS)

    def _check_size(self, size: tuple[int, int] | None, block_size: int) -> None:
        """Raise BlockAlignmentError unless the size that batches are padded to is a multiple of the block size."""
        if size is not None and any(side % block_size for side in size):
            nearest = tuple(round_to_blocks(side, block_size) for side in size)
            raise BlockAlignmentError(
                f'Expected the padding size of the preprocessor to be a multiple of the block size {block_size}, '
                f'but got {tuple(size)}. The nearest that fits is {nearest}; crop the images to it as well.'
            )

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        # a copy, since averages of models in place would change the text
        destination[f'{prefix}protection'] = self.identity.to_tensor().to(self.protection.device)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        self.identity.check(Identity.from_tensor(state_dict.get(f'{prefix}protection')))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _labels(sample: SegDataSample) -> list[str]:
    """Return the names of the ground truth of a sample."""
    return [name for name, value in sample.items() if name.startswith('gt_') and isinstance(value, PixelData)]


def swaps_channels(preprocessor: SegDataPreProcessor) -> bool:
    """Tell whether a preprocessor turns BGR into RGB, or RGB into BGR."""
    name = '_channel_conversion' if hasattr(preprocessor, '_channel_conversion') else 'channel_conversion'  # onedl's
    return bool(getattr(preprocessor, name))
