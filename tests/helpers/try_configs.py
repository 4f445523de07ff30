"""Protect many configurations of the installed MMSegmentation, train and predict with each, and write a table.

python tests/helpers/try_configs.py -o docs/protected_configs.md
"""

import argparse
import os
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).parents[1]))

import mmseg

from helpers.small_models import one_step, shrink, takes_ignored
from mmseg_keyprotect.config import protect_config
from mmseg_keyprotect.config.checks import check_config, raise_problems
from mmseg_keyprotect.config.checks.sizes import sizes_in
from mmseg_keyprotect.config.view import find_model
from mmseg_keyprotect.keys import SecretKey

CONFIGS = Path(mmseg.__file__).parent / '.mim' / 'configs'
DONE = 'trains and predicts'
UNIGNORED = f'{DONE}, without ignored pixels'
NEEDS = {
    'mmpretrain': 'needs mmpretrain',
    'BaseModule.__init__': 'needs mmdet',  # mmseg replaces the heads of a missing mmdet by BaseModule
    'compiled mmcv operator': 'needs the compiled mmcv operators',
    'gdal': 'needs gdal',
    'slide_flip': 'refused: it flips windows after their encryption (slide_flip)',
}


@dataclass(frozen=True)
class Case:
    """A configuration to try.

    Args:
        architecture: The name in the table.
        config: The path under MMSegmentation's configs.
        size: The side in pixels to which it is shrunk.
        fits: If set, the network accepts only images whose sides are multiples of this.
    """

    architecture: str
    config: str
    size: int = 64
    fits: int | None = None

    @property
    def shape(self):
        return None if self.fits is None else (self.size, 2 * self.size)


CASES = [
    Case('FCN', 'fcn/fcn_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('FCN', 'fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py'),
    Case('PSPNet', 'pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'),
    Case('PSPNet', 'pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('DeepLabV3', 'deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('DeepLabV3+', 'deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('DeepLabV3+', 'deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py'),
    Case('SegFormer', 'segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py'),
    Case('SegFormer', 'segformer/segformer_mit-b5_8xb2-160k_ade20k-640x640.py'),
    Case('SETR-PUP', 'setr/setr_vit-l_pup_8xb1-80k_cityscapes-768x768.py'),
    Case('SETR-MLA', 'setr/setr_vit-l-mla_8xb1-160k_ade20k-512x512.py'),
    Case('UPerNet', 'upernet/upernet_r50_4xb2-40k_cityscapes-769x769.py'),
    Case('UPerNet', 'upernet/upernet_r18_4xb4-20k_voc12aug-512x512.py'),
    Case('UPerNet + Swin', 'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'),
    Case('UPerNet + Swin', 'swin/swin-base-patch4-window12-in22k-384x384-pre_upernet_8xb2-160k_ade20k-512x512.py'),
    Case('UPerNet + Swin, 6 channels', 'swin/swin-tiny-patch4-window7_upernet_1xb8-20k_levir-256x256.py'),
    Case('UPerNet + ViT', 'vit/vit_deit-s16_upernet_8xb2-80k_ade20k-512x512.py'),
    Case('UPerNet + BEiT', 'beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py'),
    Case('UPerNet + MAE', 'mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py'),
    Case('UPerNet + Twins', 'twins/twins_svt-s_uperhead_8xb2-160k_ade20k-512x512.py'),
    Case('UPerNet + ConvNeXt', 'convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py'),
    Case('Semantic FPN', 'sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py'),
    Case('Semantic FPN + Twins', 'twins/twins_pcpvt-s_fpn_fpnhead_8xb4-80k_ade20k-512x512.py'),
    Case('Semantic FPN + PoolFormer', 'poolformer/fpn_poolformer_s12_8xb4-40k_ade20k-512x512.py'),
    Case('Segmenter', 'segmenter/segmenter_vit-s_mask_8xb1-160k_ade20k-512x512.py'),
    Case('SegNeXt', 'segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py'),
    Case('DPT', 'dpt/dpt_vit-b16_8xb2-160k_ade20k-512x512.py'),
    Case('K-Net', 'knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py'),
    Case('K-Net', 'knet/knet-s3_swin-t_upernet_8xb2-adamw-80k_ade20k-512x512.py'),
    Case('Mask2Former', 'mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py'),
    Case('MaskFormer', 'maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py'),
    Case('VPD', 'vpd/vpd_sd_4xb8-25k_nyu-480x480.py'),
    Case('MobileNetV2', 'mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py'),
    Case('MobileNetV3 LR-ASPP', 'mobilenet_v3/mobilenet-v3-d8_lraspp_4xb4-320k_cityscapes-512x1024.py', size=416),
    Case('ResNeSt', 'resnest/resnest_s101-d8_pspnet_4xb4-160k_ade20k-512x512.py'),
    Case('HRNet', 'hrnet/fcn_hr18s_4xb2-40k_cityscapes-512x1024.py'),
    Case('HRNet', 'hrnet/fcn_hr18s_4xb4-80k_isaid-896x896.py'),
    Case('HRNet', 'hrnet/fcn_hr18s_4xb4-40k_pascal-context-480x480.py'),
    Case('OCRNet', 'ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024.py'),
    Case('OCRNet', 'ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024.py'),
    Case('CCNet', 'ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('DANet', 'danet/danet_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('PSANet', 'psanet/psanet_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('EncNet', 'encnet/encnet_r50-d8_4xb4-80k_ade20k-512x512.py'),
    Case('DNLNet', 'dnlnet/dnl_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('ANN', 'ann/ann_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('APCNet', 'apcnet/apcnet_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('DMNet', 'dmnet/dmnet_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('EMANet', 'emanet/emanet_r50-d8_4xb2-80k_cityscapes-769x769.py'),
    Case('GCNet', 'gcnet/gcnet_r50-d8_4xb4-20k_voc12aug-512x512.py'),
    Case('ISANet', 'isanet/isanet_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('NonLocal Net', 'nonlocal_net/nonlocal_r50-d8_4xb2-40k_cityscapes-769x769.py'),
    Case('FastFCN', 'fastfcn/fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024.py'),
    Case('PointRend', 'point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py'),
    Case('ERFNet', 'erfnet/erfnet_fcn_4xb4-160k_cityscapes-512x1024.py'),
    Case('BiSeNetV1', 'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py'),
    Case('BiSeNetV2', 'bisenetv2/bisenetv2_fcn_4xb4-ohem-160k_cityscapes-1024x1024.py'),
    Case('Fast-SCNN', 'fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py'),
    Case('CGNet', 'cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py'),
    Case('ICNet', 'icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832.py'),
    Case('STDC', 'stdc/stdc1_4xb12-80k_cityscapes-512x1024.py'),
    Case('PIDNet', 'pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py', fits=8),
    Case('DDRNet', 'ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py', fits=8),
    Case('UNet', 'unet/unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024.py', fits=16),
    Case('UNet', 'unet/unet-s5-d16_deeplabv3_4xb4-40k_drive-64x64.py'),
    Case('UNet', 'unet/unet-s5-d16_pspnet_4xb4-ce-1.0-dice-3.0-40k_hrf-256x256.py'),
]


@dataclass
class Row:
    """One line of the table."""

    config: str
    architecture: str
    mode: str
    changes: str
    outcome: str


def reason(error):
    """Return in a few words why a configuration does not run."""
    text = str(error)
    known = next((words for mark, words in NEEDS.items() if mark in text), None)
    return known or f'{type(error).__name__}: {text.splitlines()[0][:80] if text else ""}'


def attempt(cfg, case, shape):
    """Shrink a configuration, run it, and return the outcome."""
    try:
        one_step(shrink(cfg, case.size), shape)
    except Exception as error:  # the table shows errors of any kind
        return reason(error)
    return DONE if takes_ignored(cfg.model) else UNIGNORED


def load(path):
    """Load a configuration, or return why it does not load."""
    try:
        return Config.fromfile(path), None
    except Exception as error:
        return None, reason(error)


def changed_sizes(old, new):
    """Describe the sizes that differ, each once."""
    found = {}
    for (_, before, name), (_, after, _) in zip(sizes_in(old), sizes_in(new), strict=True):
        if before[name] != after[name]:
            found[f'{name.removesuffix("_size")} {short(before[name])} -> {short(after[name])}'] = None
    return ', '.join(found) or 'none'


def short(size):
    sides = [size] if isinstance(size, int) else list(size)
    return 'x'.join(str(side) for side in (sides[:1] if len(set(sides)) == 1 else sides))


def try_case(case, folder):
    """Protect one configuration and run it. If it fails, run the unprotected one too."""
    source = CONFIGS / case.config
    plain = Config.fromfile(source, import_custom_modules=False)
    mode = find_model(plain)['test_cfg'].get('mode', 'whole')
    target = Path(folder) / source.name
    changes = '-'
    try:
        protect_config(source, target)
        cfg = Config.fromfile(target)
        raise_problems(check_config(cfg))
        changes = changed_sizes(plain.to_dict(), cfg.to_dict())
        outcome = attempt(cfg, case, case.shape)
    except Exception as error:
        outcome = reason(error)
    return Row(case.config, case.architecture, mode, changes, compare(outcome, source, case))


def compare(outcome, source, case):
    """Add the outcome of the unprotected configuration to that of the protected one."""
    done = outcome in (DONE, UNIGNORED)
    if (done and case.fits is None) or outcome.startswith('refused'):
        return outcome
    cfg, failure = load(source)
    unprotected = failure or attempt(cfg, case, None if done else case.shape)
    if done and unprotected not in (DONE, UNIGNORED):
        return f'{outcome}, at multiples of {case.fits}'
    if not done and unprotected == outcome:
        return f'{outcome}, also unprotected'
    return f'FAILS: {"at other sizes" if done else outcome}; unprotected: {unprotected}'


def try_all(cases, folder, tell=None):
    rows = []
    for case in cases:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            rows.append(try_case(case, folder))
        if tell:
            tell(f'{rows[-1].config}: {rows[-1].outcome}')
    return rows


def table(rows):
    """Render the rows as the page of the documentation."""
    done = [row for row in rows if row.outcome.startswith(DONE)]
    kinds = len({row.architecture for row in done})
    same = sum(row.outcome.endswith('also unprotected') for row in rows)
    refused = sum(row.outcome.startswith('refused') for row in rows)
    lines = [
        '# Configurations of MMSegmentation, protected',
        '',
        'Made by `python tests/helpers/try_configs.py -o docs/protected_configs.md` '
        f'with mmsegmentation {mmseg.__version__}.',
        '',
        f'**{len(done)} of {len(rows)} configurations, of {kinds} architectures, train and predict when protected**; '
        f'{same} fail in the same way protected and unprotected on the machine that made this table. '
        f'{refused} cannot be protected and is refused.',
        '',
        '`keyprotect protect` protects each configuration with the default cipher. The test then loads it, checks it, '
        'and shrinks it: sizes of 64, or 416 for MobileNetV3, no pretrained weights, BN for SyncBN. It trains one step '
        'with the losses of the configuration. It predicts an image of odd size, in memory and from a file through '
        'the test pipeline, and the map has the size of the image. The column "sizes" shows what the protection '
        'changed so that crops and windows are whole blocks.',
        '',
        '- *at multiples of N*: the network accepts only images whose sides are multiples of N. Unprotected it fails '
        'on the odd size too.',
        '- *without ignored pixels*: the loss has class weights, and mmseg 1.2.2 then fails on ignored pixels, '
        'protected or not (open-mmlab/mmsegmentation#3734). The test uses none.',
        '- *needs X, also unprotected*: X is not installed here, and the configuration needs it in any case.',
        '',
        '| configuration | architecture | test mode | sizes | outcome |',
        '|---|---|---|---|---|',
    ]
    lines += [f'| {r.config} | {r.architecture} | {r.mode} | {r.changes} | {r.outcome} |' for r in rows]
    return '\n'.join(lines) + '\n'


def read_outcomes(path):
    """Read the outcomes of a table, by configuration."""
    cells = [[cell.strip() for cell in line.split('|')] for line in Path(path).read_text().splitlines()]
    return {row[1]: row[-2] for row in cells if len(row) == 7 and row[1].endswith('.py')}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-o', '--out', help='the file to write; default: print the table')
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        SecretKey.generate().save(Path(folder) / 'try.key')
        os.environ['KEYPROTECT_KEY_FILE'] = str(Path(folder) / 'try.key')
        rows = try_all(CASES, folder, tell=lambda text: print(text, file=sys.stderr, flush=True))
    if args.out:
        Path(args.out).write_text(table(rows))
    else:
        print(table(rows))


if __name__ == '__main__':
    main()
