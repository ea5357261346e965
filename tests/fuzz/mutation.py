"""Damage for files: to bytes without knowing what they are, to JSON and to GGUF knowing it."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

__all__ = ["mutate_bytes", "mutate_json", "mutate_numbers"]

#: What strangers write where something else should be.
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 4, 7, 8, 255, 1 << 16, 1 << 24, (1 << 24) + 1, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 53, 1 << 63, 1 << 64, 10 ** 30,
    0.0, -0.0, 0.5, 1.0, 1e-5, 1e-6, 1e-45, 1e300, -1e300, float("inf"), float("nan"), "", "x", "0", "1", "8", "true", "none", "bitnet", "silu", "relu2",
    "../../etc/passwd", "\0", "\ud800", "a" * 5000, [], [1], [None], ["x"], {}, {"x": 1}, [[[[]]]],
)  # fmt: skip


def mutate_bytes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """One to three changes: bits flipped, bytes set, cut, put in, repeated, moved; or the rest of another file."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.7 else min(len(data), int(rng.expovariate(1 / 60)))
        end = min(len(data), at + rng.choice((1, 1, 2, 4, 8, rng.randrange(200))))
        how = rng.randrange(8)
        if how <= 1 and data:
            changed = bytearray(data)
            changed[at % len(data)] ^= 1 << rng.randrange(8)
            data = bytes(changed)
        elif how == 2:
            data = data[:at] + bytes(rng.choice((0, 1, 127, 128, 254, 255, rng.randrange(256))) for _ in range(end - at)) + data[end:]
        elif how == 3:
            data = data[:at]
        elif how == 4:
            data = data[:at] + rng.choice((rng.randbytes(end - at), bytes(end - at), b"\xff" * 8)) + data[at:]
        elif how == 5:
            data = data[:at] + data[end:]
        elif how == 6:
            data = data[:at] + data[at:end] * rng.randint(2, 4) + data[end:]
        else:
            data = data[:at] + other[rng.choice((at, rng.randrange(len(other) + 1))):]
    return data


def mutate_json(rng: random.Random, text: bytes) -> bytes:
    """One to three changes to a JSON document: a value, a key, a pair more, less or twice; and how it is written."""
    value = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed(rng, value)
    written = json.dumps(value, ensure_ascii=rng.random() < 0.8, separators=rng.choice(((",", ":"), (", ", ": "))))
    if rng.random() < 0.03:
        deep = rng.choice((100, 100_000))
        written = rng.choice(("[" * deep + "]" * deep, written + "{}", written.replace("{", '{"hidden_size":1,"hidden_size":2,', 1), "\ufeff" + written, ""))
    return written.encode("utf-8", "surrogatepass")


def mutate_numbers(rng: random.Random, data: bytes, places: list[tuple[int, int]]) -> bytes:
    """Change whole numbers of a binary file: each place is an offset and a width in bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2))):
        at, width = rng.choice(places)
        old = int.from_bytes(data[at:at + width], "little")
        new = rng.choice((0, 1, old + 1, old - 1, old * 2, old // 2, 1 << 8 * width - 1, (1 << 8 * width) - 1, rng.randrange(64), rng.getrandbits(8 * width),
                          int.from_bytes(data[(other := rng.choice(places))[0]:other[0] + other[1]], "little")))
        changed[at:at + width] = (new % (1 << 8 * width)).to_bytes(width, "little")
    if rng.random() < 0.1:
        at = rng.choice(places)[0]
        changed[at:at + 4] = struct.pack("<f", rng.choice((float("nan"), float("inf"), 0.0, -1.0, 1e-45, 3e38)))
    return bytes(changed)


def _changed(rng: random.Random, value: Any) -> Any:
    """A copy with one change somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        pairs = dict(value)
        key = rng.choice(list(pairs))
        how = rng.randrange(12)
        if how < 5:
            pairs[key] = _changed(rng, pairs[key])
        elif how < 8:
            pairs[key] = rng.choice(HOSTILE)
        elif how == 8:
            del pairs[key]
        elif how == 9:
            pairs[rng.choice((key + "_", key.upper(), "unknown", ""))] = pairs.pop(key) if rng.random() < 0.5 else rng.choice(HOSTILE)
        else:
            other = rng.choice(list(pairs))
            pairs[key], pairs[other] = pairs[other], pairs[key]
        return pairs
    if isinstance(value, list) and value and rng.random() < 0.9:
        items = list(value)
        at = rng.randrange(len(items))
        how = rng.randrange(6)
        if how < 3:
            items[at] = _changed(rng, items[at])
        elif how == 3:
            del items[at]
        elif how == 4:
            items.insert(at, rng.choice((items[at], rng.choice(HOSTILE))))
        else:
            items[at] = rng.choice(HOSTILE)
        return items
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice((value + 1, value - 1, -value, value * 2, value // 2, float(value), str(value)))
    if isinstance(value, str) and value and rng.random() < 0.4:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice(("", "x", "\n", "é", "0")) + value[at + 1:]
    return rng.choice(HOSTILE)
