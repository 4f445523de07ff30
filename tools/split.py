"""The command ``keyprotect split`` as a script, for ``mim run`` and a checkout."""

from mmseg_keyprotect.cli.former_names import run_script

if __name__ == '__main__':
    run_script('split')
