"""The HTML report in a real browser."""

import numpy as np
import pytest
from PIL import Image

from helpers.browser import PHONE, browse, measure
from helpers.reports import report_of
from mmseg_keyprotect.evaluation.html_report import write_html
from mmseg_keyprotect.evaluation.pictures import Picture


@pytest.fixture
def page(tmp_path):
    """A report with twelve pictures and long names."""
    rng = np.random.default_rng(0)
    panels = {who: rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for who in ('image', 'encrypted', 'correct key')}
    path = tmp_path / 'report.html'
    report = report_of(53.0, 4.0, 5.0, 6.5, baseline=54.5, partly=[(50, 9.0), (90, 50.0), (90, 48.12)])
    name = 'segformer_mit-b0_shfnp-b4_1xb8-0.4k_camvid-160x160'
    report.about.update(
        model=f'{name}.py, iter_20000.pth', command=f'keyprotect evaluate {name}.py out/iter_20000.pth -o report'
    )
    colours = {0: (255, 0, 0), 1: (0, 0, 255)}
    write_html(report, [Picture(f'{name}_{n}.jpg', panels, colours) for n in range(12)], path)
    return path


@pytest.mark.parametrize('width', [PHONE, 1280])
def test_nothing_is_cut_off_or_broken_and_the_console_is_silent(page, width):
    lines, found = measure(page, width, '--window-size=1300,900')
    assert lines == []
    assert (found['images'], found['loaded'], found['unnamed']) == ('36', '36', '0')
    assert int(found['width']) in (width, width - 15)  # with or without a scroll bar
    assert (found['wide'], found['cut'], found['broken']) == ('false', '', '')
    assert float(found['smallest']) >= 9  # pixels, the height of text in charts
    assert found['ink'] == 'rgb(28, 28, 30)'


def test_dark_mode(page):
    dark = measure(page, PHONE, '--force-dark-mode', '--blink-settings=preferredColorScheme=0')[1]
    assert dark['ink'] == 'rgb(236, 236, 238)'


def test_the_probe_sees_faults(page):
    """The test above can fail: a broken picture, an error, a wide line, a broken word and small text are found."""
    text = page.read_text().replace('data:image/png;base64,', 'data:image/png;base64,AAAA', 1)
    text = text.replace('</body>', '<p style="white-space: nowrap">' + 'a long line ' * 20 + '</p></body>')
    text = text.replace(
        '</body>', f'<p style="overflow-wrap: anywhere">{"x" * 200}</p><script>missing()</script></body>'
    )
    page.write_text(text.replace('max-width: 32rem', 'max-width: 9rem'))
    lines, found = measure(page)
    assert lines
    assert found['loaded'] == '35'
    assert found['wide'] == 'true'
    assert 'line' in found['cut']
    assert found['broken'] == 'x' * 200
    assert float(found['smallest']) < 9


def test_screenshot(page):
    shot = page.parent / 'report.png'
    browse(page, '--window-size=1000,3000', '--hide-scrollbars', f'--screenshot={shot}')
    picture = np.asarray(Image.open(shot).convert('L'))
    assert picture.shape == (3000, 1000)
    assert picture.std() > 10
