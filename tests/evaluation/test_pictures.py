"""The pictures of the access report: which images are shown, and nothing of the key in them."""

import numpy as np
import torch

from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.evaluation.choice import choose_images
from mmseg_keyprotect.evaluation.evaluate import evaluate_access
from mmseg_keyprotect.evaluation.pictures import take_pictures


def test_the_report_holds_nothing_of_the_correct_key(trained, tmp_path, key, key_file):
    """An image beside its encrypted form reveals the key, so that a random key encrypts what is shown."""
    evaluation = AccessEvaluation(*trained, seed=5)
    (tmp_path / 'state').mkdir()
    report = evaluation.run(tmp_path / 'state', 1, [50], 2)
    picture = take_pictures(evaluation, report, 1)[0]
    image = evaluation.images.batch(choose_images(evaluation.images, 1)[0])['inputs'][0]
    shown = torch.from_numpy(picture.panels['encrypted']).flip(-1).permute(2, 0, 1)
    assert torch.equal(shown, evaluation.protected.users.wrong(evaluation.nonce, 0).encryption.encrypt(image)[0].byte())
    correct = evaluation.correct.encryption.encrypt(image)[0].byte()
    assert (shown == correct).float().mean() < 0.5
    assert (shown[:, : image.shape[1], : image.shape[2]] == image).float().mean() < 0.5
    evaluate_access(*trained, tmp_path / 'whole', 1, known=[50, 90], draws=2, pictures=2, seed=5)
    line = key_file.read_text().splitlines()[-1]
    order = evaluation.protected.image_cipher.transform.source.tolist()
    for path in (tmp_path / 'whole').glob('*.*'):
        found = path.read_bytes()
        assert line.encode() not in found
        assert str(order)[1:-1].encode() not in found
        assert ','.join(map(str, order)).encode() not in found


def test_pictures_are_spread_and_differ(trained):
    images = AccessEvaluation(*trained).images
    assert choose_images(images, 12) == [0, 1, 2]


def test_the_candidate_that_differs_most_is_chosen(monkeypatch):
    """Two stretches of 0 to 3 and 4 to 7, in which number 6 alone looks different."""
    monkeypatch.setattr('mmseg_keyprotect.evaluation.choice.describe', lambda _, index: np.array([index == 6], float))
    assert choose_images(range(8), 2) == [0, 6]
