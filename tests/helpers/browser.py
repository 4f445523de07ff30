"""Pages in a real browser, at the width of a phone too."""

import html
import os
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
PHONE = 390
"""The width of a phone in CSS pixels. Chromium's own window is never narrower than 500, so that a frame is used."""

PROBE = """<script>
addEventListener('load', () => {
  const inner = document.querySelector('iframe').contentDocument, page = inner.documentElement;
  const images = [...inner.images], facts = document.body.dataset;
  facts.images = images.length;
  facts.loaded = images.filter(image => image.complete && image.naturalWidth > 0).length;
  facts.unnamed = images.filter(image => !image.alt).length;
  facts.width = page.clientWidth;
  facts.ink = getComputedStyle(inner.body).color;
  const broken = [], cut = [], range = inner.createRange();
  const walker = inner.createTreeWalker(inner.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    if (text.parentElement.closest('svg, thead')) continue;
    for (const word of text.data.matchAll(/[A-Za-z0-9]+/g)) {
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const boxes = [...range.getClientRects()];
      if (new Set(boxes.map(box => Math.round(box.top))).size > 1) broken.push(word[0]);
      if (boxes.some(box => box.right > page.clientWidth + 1)) cut.push(word[0]);
    }
  }
  const small = [...inner.querySelectorAll('svg text, svg tspan')].map(text => text.getBoundingClientRect().height);
  facts.smallest = Math.min(...small.filter(height => height > 0));
  facts.broken = broken.join(' ');
  facts.cut = cut.join(' ');
  facts.wide = page.scrollWidth > page.clientWidth;
});
</script>"""


def browse(page, *options):
    """Open a page without a network and return what the browser logs, and the page as it then is."""
    if CHROMIUM is None:
        reason = 'no Chromium found: apt-get install chromium'
        pytest.fail(reason) if os.environ.get('CI') else pytest.skip(reason)
    command = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr']
    command += ['--proxy-server=127.0.0.1:9', f'--user-data-dir={page.parent / "profile"}', *options, page.as_uri()]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stderr, done.stdout


def console(log):
    """Return the lines of the console."""
    return [line for line in log.splitlines() if 'CONSOLE' in line]


def measure(page, width=PHONE, *options):
    """Show a page in a frame of the given width, and return what the console says and what was measured."""
    frame = page.parent / f'frame_{width}.html'
    inner = html.escape(page.read_text())
    frame.write_text(f'<body><iframe width="{width}" height="800" style="border: 0" srcdoc="{inner}"></iframe>{PROBE}')
    log, found = browse(frame, '--dump-dom', *options)
    body = re.search('<body [^>]*>', found)[0]
    return console(log), {name: html.unescape(value) for name, value in re.findall(r'data-(\w+)="([^"]*)"', body)}
