"""Measure a split model: bytes and time of an image, in two processes beside one process, on CamVid.

The weights are not trained, which changes no time. All alternatives take turns within one run, on one thread each.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

import mmseg_keyprotect  # noqa: F401  its workarounds for OpenMMLab must come before the first import of mmseg
from benchmarks.speed.keys import temporary_key
from benchmarks.speed.report import publish, quartiles, table_of
from benchmarks.speed.timing import take_turns
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.export import ExportedModel, export_onnx
from mmseg_keyprotect.keys import build_key
from mmseg_keyprotect.protection.checkpoints import build_model
from mmseg_keyprotect.sealing import KeyRecipient
from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.split import FeatureMessage, PrivatePart, PublicPart, split_model

CONFIG = 'configs/private_side/deeplabv3plus_mobilenet-v2-d16_private-side_1xb8-0.3k_camvid-160x160.py'
COMPRESSED = {'feature maps': False, 'feature maps, deflated': True}


def one_thread() -> dict[str, Any]:
    """Return the options of a session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return dict(sess_options=options)


def serve(path: Path, address: str) -> None:
    """Answer messages with masks until an empty one comes; the key is that of the environment."""
    part = PrivatePart.open(path, **one_thread())
    with Client(address) as line:
        while body := line.recv_bytes():
            line.send_bytes(part.predict(FeatureMessage.from_bytes(body)).tobytes())


@contextmanager
def private_process(path: Path) -> Iterator[Connection]:
    """Run the private part in a process of its own; yield the line to it, a local socket."""
    with Listener(family='AF_UNIX') as listener:
        process = multiprocessing.get_context('spawn').Process(target=serve, args=(path, listener.address))
        process.start()
        with listener.accept() as line:
            yield line
            line.send_bytes(b'')
        process.join()


def alternatives(
    public: PublicPart, private: PrivatePart, whole: ExportedModel, line: Connection, image: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """Return what is timed."""
    message = public.features(image)

    def both(compressed: bool) -> Callable[[], bytes]:
        def ask() -> bytes:
            line.send_bytes(public.features(image).to_bytes(compressed))
            return line.recv_bytes()

        return ask

    return {
        'whole model, one process': lambda: whole.predict(image),
        'public part': lambda: public.features(image),
        'private part': lambda: private.predict(message),
        **{f'both, {name}': both(compressed) for name, compressed in COMPRESSED.items()},
    }


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=15, help='how often each alternative is timed; default: 15')
    parser.add_argument('--page', type=Path, help='Markdown page to write the table into, between its marks')
    args = parser.parse_args()
    cfg = load_quietly(CONFIG)
    image = np.ascontiguousarray(TestImages(cfg).batch(0)['inputs'][0].numpy().transpose(1, 2, 0)[..., ::-1])
    with temporary_key() as folder:
        key, checkpoint = build_key(), str(folder / 'model.pth')
        model = build_model(cfg)
        model.init_weights()
        torch.save(dict(state_dict=model.state_dict()), checkpoint)
        split_model(cfg, checkpoint, folder / 'parts', [KeyRecipient(key)], images=[image])
        export_onnx(cfg, checkpoint, folder / 'whole.onnx', images=[image])
        public = PublicPart.open(folder / 'parts' / 'public' / 'backbone.onnx', **one_thread())
        private = PrivatePart.open(folder / 'parts' / 'private.sealed', **one_thread())
        whole = ExportedModel.open(folder / 'whole.onnx', **one_thread())
        message = public.features(image)
        sizes = {f'both, {name}': len(message.to_bytes(compressed)) for name, compressed in COMPRESSED.items()}
        with private_process(folder / 'parts' / 'private.sealed') as line:
            times = take_turns(alternatives(public, private, whole, line, image), args.repeats)
    first = times['whole model, one process']['ms']
    rows = [
        [name, quartiles(one), f'{one["ms"] / first:.2f}', f'{sizes[name] / 1000:.0f}' if name in sizes else '']
        for name, one in times.items()
    ]
    publish(dict(split=table_of(['what runs', 'ms', 'against the first', 'kB sent for an image'], rows)), args.page)


if __name__ == '__main__':
    main()
