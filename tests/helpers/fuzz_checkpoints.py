"""Load changed checkpoints in a process of its own: ``python -m helpers.fuzz_checkpoints COUNT SEED FOLDER``.

Prints one line of JSON: how many files were read, and how many were refused by each error. An error without a name ends
the run, as a crash of the process does.
"""

import io
import itertools
import json
import pickle
import pickletools
import random
import sys
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import MessageHub
from mmengine.runner.checkpoint import CheckpointLoader

import mmseg_keyprotect  # noqa: F401
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.protection.checkpoints import read_checkpoint

INTEGERS = [0, 1, -1, 2, 3, 127, 255, 65535, 2**31 - 1, -(2**31), 2**40, 2**63, -(2**63)]
WORDS = ['f8', 'O', 'O8', 'V', 'U4', '<', '>', '|', '=', 'M8[ns]', 'i8,f8', 'min', '__class__', '', 'x' * 300, '\ud800']


def sample_checkpoint():
    """Return the bytes of a small checkpoint with all that mmengine writes."""
    hub = MessageHub.get_instance('fuzz')
    for step in range(3):
        hub.update_scalar('train/loss', 0.5 + step)
    hub.update_info('iter', np.int64(3))
    hub.update_info('table', np.arange(6.0).reshape(2, 3))
    layer = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    file = io.BytesIO()
    meta = dict(epoch=0, iter=3, cfg='a = 1', dataset_meta=dict(classes=('a', 'b')), seed=1)
    state = dict(state_dict=layer.state_dict(), meta=meta, message_hub=hub.state_dict())
    torch.save(dict(state, optimizer=optimizer.state_dict()), file)
    return file.getvalue()


def random_value(rng, depth=0):
    """Return the pickle, without its frame, of a random value."""
    kind = rng.randrange(8 if depth < 3 else 4)
    if kind < 2:
        return pickle_body(rng.choice(INTEGERS if kind else WORDS))
    if kind == 2:
        return pickle_body(rng.choice([None, True, False, 0.5, float('nan'), {}, [], ()]))
    if kind == 3:
        return b'h' + bytes([rng.randrange(120)])  # an object from the memo
    if kind == 4:  # the states of a dtype and of an array are tuples
        return b'(' + b''.join(random_value(rng, depth + 1) for _ in range(rng.choice([2, 3, 5, 6, 8, 9]))) + b't'
    if kind == 5:
        return random_value(rng, depth + 1) + b'}' + random_value(rng, depth + 1) + random_value(rng, depth + 1) + b'sb'
    if kind == 6:
        return b'h' + bytes([rng.randrange(120)]) + random_value(rng, depth + 1) + rng.choice([b'R', b'\x81'])
    return random_value(rng, depth + 1) + random_value(rng, depth + 1) + b'b'


def random_state(rng):
    """Return the pickle of a tuple that is nearly the state of a dtype: parts are missing, or are others."""
    state = [3, rng.choice(['<', '>', '|', '=']), None, None, None, -1, -1, 0]
    for _ in range(rng.randrange(3)):
        del state[rng.randrange(2, len(state))]
    for _ in range(rng.randrange(3)):
        state[rng.randrange(len(state))] = rng.choice([None, -1, 0, 1, 4, 8, 2**40, -(2**63), 'a', {}, (), (1, 2)])
    return b'(' + b''.join(map(pickle_body, state)) + b't'


def states(operations):
    """Return where the tuples begin and end that are the states of objects."""
    found, marks, closed = [], [], (0, 0)
    for (place, name), (after, _) in itertools.pairwise(operations):
        if name == 'MARK':
            marks.append(place)
        elif name in ('TUPLE', 'SETITEMS', 'APPENDS'):
            closed = (marks.pop(), after)
        elif name == 'BUILD' and place - closed[1] < 3:  # the tuple may be written into the memo
            found.append(closed)
    return found


def pickle_body(value):
    """Return the pickle of a simple value without its header and its end."""
    if isinstance(value, str):
        raw = value.encode('utf-8', 'surrogatepass')
        return b'X' + len(raw).to_bytes(4, 'little') + raw
    return pickle.dumps(value, 2)[2:-1]


def changed_pickle(data, rng):
    """Change a pickle at random places, mostly where an operation begins."""
    operations = [(place, code.name) for code, _, place in pickletools.genops(data)]
    if rng.random() < 0.3:  # another state for an object
        start, end = rng.choice(states(operations))
        return data[:start] + random_state(rng) + data[end:]
    starts = [place for place, _ in operations]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        place = rng.choice(starts)
        after = next((start for start in starts if start > place), len(data))
        other = rng.choice(starts)
        kind = rng.randrange(6)
        if kind == 0:
            data = data[:place] + random_value(rng) + data[after:]
        elif kind == 1:
            data = data[:place] + random_value(rng) + rng.choice([b'b', b'R', b'\x81', b'']) + data[place:]
        elif kind == 2:
            data = data[:place] + data[after:]
        elif kind == 3:
            data = data[:place] + data[other : other + rng.randrange(1, 60)] + data[place:]
        elif kind == 4:
            data = data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
        else:
            data = data[: place + rng.randrange(8)] + rng.randbytes(rng.randrange(1, 5)) + data[place + 8 :]
    return data


def changed_file(whole, rng):
    """Return a changed checkpoint: its pickle in a sound archive, or the bytes of the file."""
    if rng.random() < 0.1:
        place = rng.randrange(len(whole))
        return whole[:place] + rng.randbytes(rng.randrange(1, 9)) + whole[place + rng.randrange(9) :]
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(target, 'w') as archive:
        for name in source.namelist():
            data = source.read(name)
            archive.writestr(name, changed_pickle(data, rng) if name.endswith('data.pkl') else data)
    return target.getvalue()


def main(count, seed, folder):
    warnings.simplefilter('ignore')
    whole, outcomes = sample_checkpoint(), Counter()
    readers = [lambda path: CheckpointLoader.load_checkpoint(path, 'cpu', logger='silent'), read_checkpoint]
    for number in range(count):
        rng = random.Random(f'{seed}-{number}')
        path = Path(folder) / f'{seed}.pth'  # stays behind where the process crashes
        path.write_bytes(changed_file(whole, rng))
        for read in readers:
            try:
                read(str(path))
                outcomes['read'] += 1
            except KeyProtectError as error:
                outcomes[type(error).__name__] += 1
    print(json.dumps(dict(outcomes)))


if __name__ == '__main__':
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
