"""Ciphers of another block size."""


def sized(cipher, block_size=4):
    """Set the block size, and allow a weak cipher."""
    if isinstance(cipher, list):
        return [sized(part, block_size) for part in cipher]
    weak = {} if cipher['type'] == 'ReferenceCipher' else dict(allow_weak=True)
    return dict(cipher, block_size=block_size, **weak)
