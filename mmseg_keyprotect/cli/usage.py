"""A command line whose parts do not fit together."""


class UsageError(Exception):
    """The command line cannot be used: shown with the usage, exit code 2."""
