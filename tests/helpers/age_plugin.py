"""A plugin of age without any secrecy, to show that plugins work: it XORs the file key with a constant.

Source of the protocol: https://c2sp.org/age-plugin. Run it as ``age-plugin-sealtest --age-plugin=STATE_MACHINE``.
"""

import base64
import sys

RECIPIENT = 'age1sealtest1qqqqqqqqqqqqqtcnhn3'
IDENTITY = 'AGE-PLUGIN-SEALTEST-1QQQQQQQQQQQQQH3QCGH'


def read():
    """Return the words and the body of a stanza."""
    words, lines = sys.stdin.readline().split()[1:], []
    while not lines or len(lines[-1]) == 64:
        lines.append(sys.stdin.readline().rstrip('\n'))
    text = ''.join(lines)
    return words, base64.b64decode(text + '=' * (-len(text) % 4))


def send(*words, body=b''):
    """Write a stanza."""
    print('->', *words, end='\n' + base64.b64encode(body).decode().rstrip('=') + '\n', flush=True)


def main():
    """Wrap or unwrap every file key."""
    found = []
    while True:
        words, body = read()
        if words[0] == 'done':
            break
        found.append((words, bytes(byte ^ 0x55 for byte in body)))
    if sys.argv[1].endswith('recipient-v1'):
        keys = [body for words, body in found if words[0] == 'wrap-file-key']
        for index, body in enumerate(keys):
            send('recipient-stanza', index, 'sealtest', body=body)
            read()
    else:
        for words, body in found:
            if words[0] == 'recipient-stanza' and words[2] == 'sealtest':
                send('file-key', words[1], body=body)
                read()
    send('done')


if __name__ == '__main__':
    main()
