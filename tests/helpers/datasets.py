"""Data sets that worker processes can unpickle."""

import numpy as np
import torch


class Images(torch.utils.data.Dataset):
    """Eight images that a pipeline encrypts."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 8

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        return torch.from_numpy(self.transform(dict(img=image))['img'].copy())
