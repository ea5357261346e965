"""The numbers that define one accelerator, and all that follows from them.

Standard library only: the gateware, the host driver and the cycle model read the same object, so no figure is written twice.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields

__all__ = ["COARSEST_TREE_PITCH", "MOST_WEIGHT_WORDS", "Geometry"]

#: No tree of up to 128 lanes has a register with this `tree_pitch`.
COARSEST_TREE_PITCH = 8

#: Most words that a weight store can have.
MOST_WEIGHT_WORDS = 1 << 24

#: Rules for each field: (lowest, highest). The highest values are what `wire.IDENTITY` can carry or what one frame can hold.
_RANGES = {
    "rows": (1, 255),
    "cols": (1, 255),
    "lanes": (1, 240),
    "col_pitch": (1, 255),
    "tree_pitch": (1, COARSEST_TREE_PITCH),
    "depth": (1, 65535),
    "weight_words": (2, MOST_WEIGHT_WORDS),
    "stream_words": (2, 1 << 15),
    "queue": (1, 255),
}


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Shape and memories of one accelerator.

    Parameters
    ----------
    rows : int
        R, activation vectors multiplied at once.
    cols : int
        C, outputs computed at once.
    lanes : int
        L, products summed in one processing element in one beat.
    col_pitch : int
        Columns that share one activation register. 1 is the classical systolic array, `cols` a broadcast along the row.
    tree_pitch : int
        Levels of adders in a processing element between two registers, its accumulator's adder being the last level.
    depth : int
        Largest K of one job: it sets the accumulator's width and the activation buffer's size.
    weight_words : int
        Words of `cols * lanes` trits in the weight store, the streaming window at its top included.
    stream_words : int
        Words of the window through which streamed weights pass: a power of two that divides `weight_words`.
    queue : int
        Jobs that wait before the sequencer.

    Raises
    ------
    ValueError
        If a number is out of its range, or a word of trits does not fit one frame.
    """

    rows: int = 2
    cols: int = 8
    lanes: int = 4
    col_pitch: int = 4
    tree_pitch: int = 2
    depth: int = 6912
    weight_words: int = 16384
    stream_words: int = 256
    queue: int = 8

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"`{name}` must be an integer from {low} to {high}, not {value!r}")
        if self.stream_words & (self.stream_words - 1):
            raise ValueError(f"`stream_words` must be a power of two, not {self.stream_words}")
        if self.weight_words % self.stream_words:
            raise ValueError(f"`weight_words` must be a multiple of `stream_words` ({self.stream_words}), not {self.weight_words}")
        if self.word_bytes > 240:
            raise ValueError(f"`cols * lanes` must be at most 960 trits (one word must fit a frame), not {self.cols * self.lanes}")

    @classmethod
    def parse(cls, text: str, **others: int) -> "Geometry":
        """Read ``"R,C,L"``, with the remaining numbers at their defaults or as given.

        Raises
        ------
        ValueError
            If the text is not three integers, or the geometry is not possible.
        """
        parts = text.split(",")
        try:
            rows, cols, lanes = (int(part) for part in parts)
        except ValueError:
            raise ValueError(f"a geometry must be three integers R,C,L such as 2,8,4, not {text!r}") from None
        return cls(rows=rows, cols=cols, lanes=lanes, **others)

    def __str__(self) -> str:
        return f"{self.rows},{self.cols},{self.lanes}"

    @property
    def lanes_total(self) -> int:
        """Ternary multiply-accumulates in one beat with all rows at work."""
        return self.rows * self.cols * self.lanes

    @property
    def acc_bits(self) -> int:
        """Width of a signed accumulator that holds ``depth * 128``."""
        return (self.depth * 128).bit_length() + 1

    @property
    def tree_levels(self) -> int:
        """Adder levels between the products and the accumulator: ``ceil(log2(lanes))``."""
        return (self.lanes - 1).bit_length()

    @property
    def tree_stages(self) -> int:
        """Registers between the weights and the accumulator's adder, in cycles: the accumulator is the level after the tree's last."""
        return self.tree_levels // self.tree_pitch

    @property
    def latency(self) -> int:
        """Cycles from the beat that ends a sum (column 0, row 0) to that sum at the array's output.

        Weight register, tree registers, accumulator, drain register. Row r comes r cycles later, column c after c more beats.
        """
        return 3 + self.tree_stages

    @property
    def ramp(self) -> int:
        """Beats at a job's end in which column 0 is done and the last column is not."""
        return self.cols - 1

    @property
    def word_bytes(self) -> int:
        """Bytes of one word of the weight store on the link."""
        return -(-2 * self.cols * self.lanes // 8)

    @property
    def act_words(self) -> int:
        """Words of `lanes` activations in each row of the activation buffer."""
        return max(-(-self.depth // self.lanes), self.cols)

    @property
    def resident_words(self) -> int:
        """Words of the weight store that hold resident matrices (the rest is the streaming window)."""
        return self.weight_words - self.stream_words

    @property
    def tiles_in_flight(self) -> int:
        """Tiles whose sums may lie between the array and the link: what the result FIFOs hold, 128 sums of each row or four tiles.

        A job's last frame is short, and the two frames of the framer's buffer are then soon full: with four tiles a queue of 128 x 128
        matrices kept the array busy for 78 % of the time, with these 16 for 98 %. Block RAM is no smaller than this anyway.
        """
        return max(4, 128 // self.cols)

    @property
    def digest(self) -> int:
        """64-bit identity of these numbers: what a device reports and the driver compares."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")

    def beats(self, k: int) -> int:
        """Beats of one tile of a matrix with K columns: ``max(ceil(K / lanes), cols)``.

        At least `cols`, because a row hands out one sum a cycle.
        """
        return max(-(-k // self.lanes), self.cols)

    def tiles(self, n: int) -> int:
        """Tiles of a matrix with N rows."""
        return -(-n // self.cols)

    def words(self, n: int, k: int) -> int:
        """Words of the weight store that an N x K matrix takes."""
        return self.tiles(n) * self.beats(k) + self.ramp

    def cuts(self, k: int) -> list[tuple[int, int]]:
        """How K columns are cut into jobs: the first of each part, and how many, at most `depth`."""
        return [(first, min(self.depth, k - first)) for first in range(0, k, self.depth)]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the numbers, in order."""
        return tuple(field.name for field in fields(cls))
