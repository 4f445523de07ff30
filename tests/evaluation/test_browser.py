"""The HTML report in a real browser."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from helpers.reports import report_of
from mmseg_keyprotect.evaluation.html_report import write_html
from mmseg_keyprotect.evaluation.pictures import Picture

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
PROBE = """<script>
addEventListener('load', () => {
  const images = [...document.images];
  document.body.dataset.images = images.length;
  document.body.dataset.loaded = images.filter(image => image.complete && image.naturalWidth > 0).length;
  document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
  document.body.dataset.unnamed = images.filter(image => !image.alt).length;
  document.body.dataset.ink = getComputedStyle(document.body).color;
});
</script></body>"""


@pytest.fixture
def page(tmp_path):
    """A report with twelve pictures."""
    rng = np.random.default_rng(0)
    panels = {who: rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for who in ('image', 'encrypted', 'correct key')}
    path = tmp_path / 'report.html'
    report = report_of(53.0, 4.0, 5.0, 6.5, baseline=54.5, partly=[(50, 9.0), (90, 50.0)])
    write_html(report, [Picture(f'{n}.jpg', panels) for n in range(12)], path)
    return path


def browse(page, *options):
    """Open a page without a network and return what the browser says, and the page as it then is."""
    if CHROMIUM is None:
        reason = 'no Chromium found: apt-get install chromium'
        pytest.fail(reason) if os.environ.get('CI') else pytest.skip(reason)
    command = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr']
    command += ['--proxy-server=127.0.0.1:9', f'--user-data-dir={page.parent / "profile"}', *options, page.as_uri()]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr, done.stdout


def console(log):
    return [line for line in log.splitlines() if 'CONSOLE' in line]


def test_every_picture_is_loaded_and_the_console_is_silent(page):
    page.write_text(page.read_text().replace('</body>', PROBE))
    log, found = browse(page, '--window-size=390,800', '--dump-dom')
    body = re.search('<body [^>]*>', found)[0]
    assert 'data-images="36" data-loaded="36" data-wide="false" data-unnamed="0"' in body
    assert console(log) == []
    dark = browse(page, '--force-dark-mode', '--blink-settings=preferredColorScheme=0', '--dump-dom')[1]
    assert 'data-ink="rgb(28, 28, 30)"' in body
    assert 'data-ink="rgb(236, 236, 238)"' in dark


def test_the_probe_sees_faults(page):
    """The test above can fail: a broken picture and an error in the console are found."""
    broken = page.read_text().replace('data:image/png;base64,', 'data:image/png;base64,AAAA', 1)
    page.write_text(broken.replace('</body>', f'<script>missing()</script>{PROBE}'))
    log, found = browse(page, '--dump-dom')
    assert 'data-loaded="35"' in found
    assert console(log)


def test_screenshot(page):
    shot = page.parent / 'report.png'
    browse(page, '--window-size=1000,3000', '--hide-scrollbars', f'--screenshot={shot}')
    picture = np.asarray(Image.open(shot).convert('L'))
    assert picture.shape == (3000, 1000)
    assert picture.std() > 10
