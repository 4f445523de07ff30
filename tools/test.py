"""Test a model: MMSegmentation's own tools/test.py, same arguments, with mmseg-keyprotect registered."""

from mmseg_keyprotect.engine.mmseg_tools import run_mmseg_tool

if __name__ == '__main__':
    run_mmseg_tool('test')
