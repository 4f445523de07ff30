"""Write a claim as one page that anyone can read, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from mmseg_keyprotect.ciphers import KeyedCipher, PlainImages
from mmseg_keyprotect.claims.ask import Ask
from mmseg_keyprotect.claims.claim import Claim
from mmseg_keyprotect.evaluation.html_report import embed
from mmseg_keyprotect.evaluation.pictures import paint, some_colours
from mmseg_keyprotect.evaluation.rendering import render
from mmseg_keyprotect.evaluation.svg import legend_below, to_svg
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.session.users import wrong_key

PICTURES = 3
"""The number of images on the page."""

OWN, RANDOM = '#3b8fd0', '#d55e00'
"""The colours of the owner's key and of random keys (Okabe and Ito)."""


def write_claim(
    claim: Claim,
    ask: Ask,
    images: Sequence[np.ndarray],
    cipher: KeyedCipher,
    folder: Path,
    about: Mapping[str, str],
) -> Path:
    """Write ``claim.html`` and ``claim.json``.

    The page shows images and masks, and no encrypted image: beside the plain one it would reveal the key.

    Args:
        claim: The claim.
        ask: The model, which is asked again about a few images.
        images: RGB uint8 (H, W, 3).
        cipher: The owner's cipher with its key.
        folder: An existing folder.
        about: What was asked, as labels and texts.

    Returns:
        The path of the page.
    """
    nonce = claim.seed.to_bytes(16, 'big')
    users: dict[str, Callable[[np.ndarray], tuple[np.ndarray, tuple[int, ...]]]] = {
        'mask of the plain image': PlainImages(cipher.block_size).encrypt,
        "encrypted with the owner's key": cipher.encrypt_raw,
        'encrypted with a random key': cipher.with_key(wrong_key(nonce, 1)).encrypt_raw,
    }
    palette = some_colours(256)
    pictures = []
    for image in images[:PICTURES]:
        panels = {'image': image, **{who: paint(ask(encrypt(image)[0]), palette) for who, encrypt in users.items()}}
        pictures.append({who: embed(who, panel) for who, panel in panels.items()})
    svg, alternative = to_svg('agreement', lambda axes: draw_agreement(axes, claim))
    facts = {
        **about,
        'images': f'{claim.images}, each asked {len(claim.random) + 2} times',
        'cipher': claim.cipher,
        'key id': claim.key_id,
        'seed of the random keys': f'{claim.seed}',
    }
    page = render(
        'mmseg_keyprotect.claims',
        'claim.html.jinja',
        title='Claim',
        claim=claim,
        chart=(Markup(svg), alternative),
        pictures=pictures,
        facts=facts,
    )
    replace_file(folder / 'claim.json', json.dumps({**claim.to_dict(), 'facts': facts}, indent=1) + '\n')
    replace_file(folder / 'claim.html', page)
    return folder / 'claim.html'


def draw_agreement(axes: Axes, claim: Claim) -> str:
    """Draw how many keys give which agreement; return a text alternative."""
    axes.hist(claim.random, bins=np.linspace(0, 100, 41).tolist(), color=RANDOM, label='random keys')
    axes.axvline(claim.own, color=OWN, linewidth=2, label="the owner's key")
    axes.set_xlabel('mIoU between the masks of plain and of encrypted images, %')
    axes.set_ylabel('keys')
    axes.set_xlim(0, 100)
    legend_below(axes)
    return (
        f"Agreement of the masks of plain and of encrypted images: {claim.own:.1f} with the owner's key, at most "
        f'{max(claim.random):.1f} with {len(claim.random)} random keys.'
    )
