"""``python -m mmseg_keyprotect`` is the command ``keyprotect``."""

import sys

from mmseg_keyprotect.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
