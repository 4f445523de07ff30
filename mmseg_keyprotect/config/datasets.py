"""Find the data sets of a configuration, and the steps that an image passes, also inside of wrappers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmseg_keyprotect.config.view import Node, find_pipelines, steps


@dataclass
class Chain:
    """All steps that the images of one data set pass.

    Args:
        place: The dotted path of the last pipeline, which packs the sample.
        steps: The steps in order, with the first branch of a ``TestTimeAug``.
    """

    place: str
    steps: list[Node]


def find_datasets(node: Any) -> list[Node]:
    """Return the data sets that read files, in order: ``node`` itself, or those that it wraps.

    Args:
        node: The configuration of a data set, or of a wrapper such as ``ConcatDataset``, ``RepeatDataset`` and
            ``MultiImageMixDataset``.

    Example:
        >>> one, other = dict(data_root='a'), dict(data_root='b')
        >>> wrapper = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[one, other]))
        >>> [dataset['data_root'] for dataset in find_datasets(wrapper)]
        ['a', 'b']
    """
    inner = [child for _, child in _wrapped(node)]
    return [leaf for child in inner for leaf in find_datasets(child)] if inner else [node]


def find_chains(cfg: Mapping[str, Any]) -> list[Chain]:
    """Return what happens to the images of every data set, ``test_pipeline`` and ``tta_pipeline``.

    A wrapper such as ``MultiImageMixDataset`` has a pipeline too, which comes after that of the data set in it.

    Args:
        cfg: The configuration, as a nested dict.
    """
    chains: list[Chain] = []
    for name in cfg:
        if name.endswith('_dataloader') and cfg[name] and isinstance(cfg[name].get('dataset'), Mapping):
            chains += _chains(cfg[name]['dataset'], f'{name}.dataset', None)
    known = {name: cfg[name] for name in find_pipelines(cfg) if name in ('test_pipeline', 'tta_pipeline')}
    return chains + [Chain(name, steps(pipeline)) for name, pipeline in known.items()]


def _chains(dataset: Node, path: str, outer: Chain | None) -> Iterator[Chain]:
    """Yield the chains of a data set, which ``outer`` follows."""
    pipeline = dataset.get('pipeline')
    chain = outer
    if isinstance(pipeline, list):
        place = f'{path}.pipeline' if outer is None else outer.place
        chain = Chain(place, steps(pipeline) + ([] if outer is None else outer.steps))
    inner = list(_wrapped(dataset))
    for name, child in inner:
        yield from _chains(child, f'{path}.{name}', chain)
    if not inner and chain is not None:
        yield chain


def _wrapped(dataset: Node) -> Iterator[tuple[str, Node]]:
    """Yield the data sets that a wrapper names, in any of its arguments, with their names in it."""
    for name, value in dataset.items():
        if name == 'pipeline':
            continue
        for index, child in enumerate(value if isinstance(value, list | tuple) else [value]):
            if isinstance(child, dict) and {'pipeline', 'data_root', 'dataset', 'datasets'} & set(child):
                yield (f'{name}.{index}' if isinstance(value, list | tuple) else name), child
