"""Run ``python -m benchmarks.paper.reproduce`` from anywhere in a checkout."""

import runpy
import sys
from pathlib import Path

if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    runpy.run_module('benchmarks.paper.reproduce', run_name='__main__')
