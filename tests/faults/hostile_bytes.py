"""Seeded damage: bytes of any file, and words of a text, as disks, networks and people make it."""

import re
import struct

HEADER = 1024
"""Bytes at the start of a file, where half of all damage goes: most of a file is pixels."""
NUMBERS = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
HOSTILE = [
    "",
    "null",
    "~",
    "true",
    "-1",
    "0",
    "1e400",
    ".inf",
    ".nan",
    "NaN",
    "-Infinity",
    "9" * 400,
    "1" + "0" * 40,
    "0x41414141",
    "[]",
    "{}",
    "[[[]]]",
    '"\\u0000"',
    '"\\ud800"',
    "\x00",
    "\u202e\u2066txet",
    "é" * 300,
    "../../../../etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "-rf",
    "--help",
    "$(touch ran)",
    "`touch ran`",
    "; touch ran #",
    "' ; touch ran ; '",
    '"; touch ran; "',
    "a\nb",
    "!!python/object/apply:os.mkdir [ran]",
    "!!python/name:os.system",
    "&a [*a, *a]",
    "*nobody",
    "{a: {a: {a: {a: 1}}}}",
    "http://127.0.0.1:9/x",
    "/vsicurl/http://127.0.0.1:9/x.tif",
    "/vsicurl?url=http%3A%2F%2F127.0.0.1%3A9%2Fx.tif",
    "file:///etc/passwd",
    "%s%n{0.__class__}",
]
"""Words that mean something to YAML, JSON, a shell, a path, GDAL or a number."""


def flipped(content, random, count):
    """Some bits turned."""
    result = bytearray(content)
    for _ in range(count):
        result[_place(content, random)] ^= 1 << random.randrange(8)
    return bytes(result)


def _place(content, random):
    end = min(HEADER, len(content)) if random.random() < 0.5 else len(content)
    return random.randrange(end)


def damaged(content, random):
    """Kind of the damage, and the bytes after it."""
    kind = random.choice(["bit", "bit", "bits", "cut", "fill", "noise", "lost", "twice", "number"])
    start = _place(content, random)
    length = random.choice([1, 2, 4, 16, 100, 512, 4096])
    end = min(len(content), start + length)
    if kind == "bit":
        return kind, flipped(content, random, 1)
    if kind == "bits":
        return kind, flipped(content, random, random.randint(2, 16))
    if kind == "cut":
        return kind, content[:start]
    if kind == "fill":
        return kind, content[:start] + random.choice([b"\0", b"\xff"]) * length + content[end:]
    if kind == "noise":
        return kind, content[:start] + random.randbytes(end - start) + content[end:]
    if kind == "lost":
        return kind, content[:start] + content[end:]
    if kind == "twice":
        return kind, content[:end] + content[start:]
    start -= start % 2
    value = random.choice(NUMBERS)
    size, form = random.choice([(2, "H"), (4, "I"), (8, "Q")])
    packed = struct.pack(random.choice("<>") + form, value % 2 ** (8 * size))
    return kind, content[:start] + packed + content[start + size :]


def reworded(content, random):
    """The same for a text: mostly one word, key or line of it is another."""
    if random.random() < 0.3:
        return damaged(content, random)
    text = content.decode()
    kind = random.choice(["word", "word", "line lost", "line twice", "lines swapped", "deep"])
    if kind == "word":
        words = list(re.finditer(r"[^\s\[\]{},:\"']+", text))
        word = random.choice(words)
        changed = text[: word.start()] + random.choice(HOSTILE) + text[word.end() :]
    elif kind == "deep":
        place = random.randrange(len(text))
        changed = text[:place] + random.choice("[{") * random.choice([10, 20_000]) + text[place:]
    else:
        lines = text.splitlines(keepends=True)
        one, other = (random.randrange(len(lines)) for _ in range(2))
        if kind == "line lost":
            del lines[one]
        elif kind == "line twice":
            lines.insert(other, lines[one])
        else:
            lines[one], lines[other] = lines[other], lines[one]
        changed = "".join(lines)
    return kind, changed.encode("utf-8", "surrogatepass")
