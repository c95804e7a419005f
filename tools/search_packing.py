"""The text of the book as a script: a page from a disk can load nothing else, and whoever searches loads all of it.

Deflate looks back 32 kB, where most words of a book do not stand. So each word is stored once, the frequent ones
first, and the text is a row of their numbers, written as the characters of those numbers; deflate then makes that
smaller still. A script is text, so the bytes are written as characters again, 15 bits in each. In UTF-16 such a
character takes 16. Base64 would take 20. No server and no page can take the file for another encoding, as long as it
begins with a byte order mark. `search/page.js` reads what is written here.
"""

import json
import re
import zlib
from collections import Counter
from typing import Any

TOKEN = re.compile(r"\\.|\x20?[^\W\d_]+|.", re.DOTALL)  # an escape of JSON, a word with the space before it, a sign
ENCODING = "utf-16"
CHUNK, BITS, FIRST = 15, 15, 0x4E00  # bytes that fill whole characters; from here on 2**15 characters are ordinary ones


def packed(data: Any) -> str:
    """A script that hands the data, anything that JSON knows, to the search."""
    tokens = TOKEN.findall(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
    words = [word for word, _ in Counter(tokens).most_common()]
    numbers = {word: chr(number) for number, word in enumerate(words)}
    text = "\n".join(words) + "\0" + "".join(numbers[token] for token in tokens)
    small = zlib.compress(text.encode(), 9)
    return f'bookSearch.data = {{ bytes: {len(small)}, signs: "{_signs(small)}" }};\n'


def unpacked(script: str) -> Any:
    """The data of such a script."""
    size, signs = re.findall(r'bytes: (\d+), signs: "(.*)"', script)[0]
    written, _, numbers = zlib.decompress(_bytes(signs)[: int(size)]).decode().partition("\0")
    words = written.split("\n")
    return json.loads("".join(words[ord(number)] for number in numbers))


def _signs(data: bytes) -> str:
    """The bytes as characters, the last of them filled up with zeros."""
    chunks = (data[at : at + CHUNK].ljust(CHUNK, b"\0") for at in range(0, len(data), CHUNK))
    numbers = (int.from_bytes(chunk, "big") for chunk in chunks)
    shifts = range(8 * CHUNK - BITS, -1, -BITS)
    return "".join(chr(FIRST + (number >> shift) % 2**BITS) for number in numbers for shift in shifts)


def _bytes(signs: str) -> bytes:
    chunks = []
    for at in range(0, len(signs), 8 * CHUNK // BITS):
        number = 0
        for sign in signs[at : at + 8 * CHUNK // BITS]:
            number = number << BITS | ord(sign) - FIRST
        chunks.append(number.to_bytes(CHUNK, "big"))
    return b"".join(chunks)
