"""The command ``keyprotect``: one file for each sub-command.

A command is a module with ``EXAMPLE``, ``add_arguments`` and ``run``, and one line in
`mmseg_keyprotect.cli.main.COMMANDS`. Its module imports no torch and no OpenMMLab package; ``run`` does, so that help
and the refusal of a bad argument come at once.
"""
