"""Learning rates of attacks that train: chosen by the attacker, on images that the choice is not trained on."""

import math

import pytest
import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample

from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.rates import Attempt, train_at_best_rates
from mmseg_keyprotect.audit.training import AttackerTrainingSet

WANTED = 5.0


class Number(torch.nn.Module):
    """A model of one weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def data_preprocessor(self, batch, training):
        """Return the batch."""
        return batch


class Numbers(AttackerTrainingSet):
    """A training set whose images are their numbers."""

    @property
    def _images(self):
        return [dict(inputs=torch.tensor(index), data_samples=SegDataSample()) for index in self.indices]


def images(count):
    """Return a training set of so many images."""
    return Numbers(Config(), {}, list(range(count)))


def start(lr, seen):
    """Return what makes an attempt: the weight is to become WANTED."""

    def loss(model, data):
        seen.append((model.training, {int(value) for value in data['inputs']}))
        return (model.weight - WANTED).square() / 2

    def attempt():
        model = Number()
        return Attempt(model, torch.optim.SGD(model.parameters(), lr), loss)

    return attempt


@pytest.mark.parametrize(('lr', 'scale'), [(0.2, 3), (0.9, 1), (3.0, 0.3), (20.0, 0.1), (1e30, None)])
def test_the_best_rate_is_found(lr, scale):
    found = train_at_best_rates(start(lr, []), images(8), Budget(60, steps=40, rates=4))
    if scale is None:
        assert not math.isfinite(float(found.attempt.model.weight.detach()))
    else:
        assert f'at {scale:g} times the usual rates, the best of 4' in found.sentence
        assert float(found.attempt.model.weight.detach()) == pytest.approx(WANTED, abs=0.2)


def test_a_trial_is_judged_on_other_images_than_it_trains_on():
    seen = []
    train_at_best_rates(start(0.1, seen), images(8), Budget(60, steps=80, rates=2))
    trained = set().union(*(inputs for training, inputs in seen[:10] if training))
    judged = set().union(*(inputs for training, inputs in seen if not training))
    assert judged == {0, 4}
    assert trained == {1, 2, 3, 5, 6, 7}
    assert set().union(*(inputs for _, inputs in seen[-80:])) == set(range(8))


@pytest.mark.parametrize(('count', 'rates'), [(1, 4), (8, 1)])
def test_without_a_choice_the_rates_are_those_of_the_attack(count, rates):
    seen = []
    found = train_at_best_rates(start(0.1, seen), images(count), Budget(60, steps=5, rates=rates))
    assert found.sentence == f'5 steps on {count} image{"s" * (count > 1)}.'
    assert len(seen) == 5


def test_parts_of_a_budget_end_with_it():
    budget = Budget(100, steps=40, rates=4)
    part = budget.part(0.125, 10)
    assert (part.seconds, part.steps, part.rates) == (12.5, 10, 1)
    assert 0 < budget.part().seconds <= 100
    assert budget.part().steps == 40
    assert Budget(0).part(0.5).over
