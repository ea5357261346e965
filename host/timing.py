"""The cycle model: what the gateware's counters say of a batch of jobs, computed without simulating it.

It follows tiles and results, not bits: when the sequencer may start a tile, when the columns finish, when the packer and the framer let
the sums go. The link is taken to accept a byte in every cycle, as it does behind the compiled RTL; a slower link adds `stall_results`
(and `stall_weights` where weights are streamed). A test holds it to the RTL, counter by counter.

Two things are left out. The framer may still be at the acknowledgement of the write before the first job when that job's first results come. A batch
that is bound by its results then takes some cycles more or less than is said here (8 of 184,942 in the one case of 60 that a test found).

Nor are the acknowledgements of STREAM frames followed, each of which ends a frame of results early and takes half of the framer's buffer: a
streamed job that is bound by its results takes longer than is said here (700 x 2 with results of 4 bytes, two rows, on the default geometry:
8,417 cycles, not 6,552).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from tritloom.host.counters import Counters
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import CRC_BYTES, HEADER, RESULT, RESULT_BYTES

__all__ = ["JobShape", "batch"]

#: Cycles of the command processor between the last word of one STREAM frame and the first byte of the next one's words: end, reply, size,
#: operation, sequence number, check (2).
_STREAM_GAP = 7

#: Cycles between a frame's last byte at the framer and its first byte on the link, in which the end is told, the CRC follows and the code
#: bytes are closed; everything a cycle late.
_CLOSE = CRC_BYTES + 4


@dataclass(frozen=True)
class JobShape:
    """What of a job matters to time.

    Parameters
    ----------
    n, k, rows, result_bytes : int
        As in `wire.JOB`.
    frames : tuple of int
        Words in each STREAM frame that brought its weights, none for a job from the store. The frames are taken to follow one another
        without a pause.
    """

    n: int
    k: int
    rows: int
    result_bytes: int
    frames: tuple[int, ...] = ()


@dataclass
class _Tile:
    """A tile on its way: its job, its beats, and how many of its columns are outputs of the matrix."""

    job: JobShape
    beats: int
    cols: int
    first: bool      # of its job
    final: bool      # of its job
    fetched: int = 0         # cycle in which its first beat could be issued, if nothing held it up
    started: int = 0         # cycle in which it was
    column: list[int] | None = None    # cycle in which each column's last beat was issued


@lru_cache(maxsize=4096)
def batch(geometry: Geometry, jobs: tuple[JobShape, ...]) -> Counters:
    """What the counters rise by when these jobs start as one batch on an idle device.

    Parameters
    ----------
    geometry : Geometry
    jobs : tuple of JobShape
        In order. At least one.
    """
    tiles = [tile for job in jobs for tile in _tiles(geometry, job)]
    freed = _freed(geometry, tiles)
    freed_at: list[int] = []
    arrivals: Iterator[int] | None = None
    window: deque[int] = deque(maxlen=geometry.stream_words)    # when the words that were last in the streaming window were taken
    stall_weights = stall_results = 0
    cycle = 0    # of the next beat, if nothing holds it up

    for i, tile in enumerate(tiles):
        if tile.first:
            arrivals = _arrivals(geometry, tile.job, cycle, window) if tile.job.frames else None
        tile.fetched = room = cycle
        if i >= geometry.tiles_in_flight:
            while len(freed_at) <= i - geometry.tiles_in_flight:
                freed_at.append(next(freed))
            room = max(cycle, freed_at[i - geometry.tiles_in_flight] + 2)
        stall_results += room - cycle
        cycle = room

        beats = tile.beats + (geometry.ramp if tile.final else 0)
        issued = []
        for beat in range(beats) if arrivals else ():
            come = next(arrivals)
            if i or beat:    # before the first beat nothing is counted
                stall_weights += max(0, come - cycle)
            cycle = max(cycle, come)
            issued.append(cycle)
            window.append(cycle)
            cycle += 1
        if not arrivals:
            issued = range(cycle, cycle + beats)
            cycle += beats
        tile.started = issued[0]
        # Column c of the tile before ended c beats into this one; if there was none before, its own ramp did it.
        if not tile.first:
            tiles[i - 1].column += issued[:geometry.ramp]
        tile.column = list(issued[tile.beats - 1:])
        if tile.final:
            cycle += 2    # the next job is fetched

    last = tiles[-1].column[-1] + 1 + geometry.latency + geometry.rows
    return Counters(
        cycles=last - tiles[0].started + 1,
        busy=sum(tile.beats for tile in tiles),
        ramp=geometry.ramp * len(jobs),
        stall_weights=stall_weights,
        stall_results=stall_results,
        jobs=len(jobs),
        results=sum(job.n * job.rows for job in jobs),
        bad_frames=0,
    )


def _tiles(geometry: Geometry, job: JobShape) -> Iterator[_Tile]:
    count = geometry.tiles(job.n)
    for i in range(count):
        yield _Tile(job, geometry.beats(job.k), min(geometry.cols, job.n - i * geometry.cols), first=i == 0, final=i == count - 1)


def _arrivals(geometry: Geometry, job: JobShape, start: int, window: deque[int]) -> Iterator[int]:
    """Cycles in which a streamed job's words can first be used: a byte a cycle, one more to store the word, and the gaps.

    A word waits until the word that has its place in the window was taken: three cycles from there to where it can be used itself. And it
    is not stored in a cycle in which the store is read, which is the one after the beat was issued.
    """
    cycle = start
    for words in job.frames:
        for _ in range(words):
            if len(window) == window.maxlen:
                cycle = max(cycle, window[0] + 3)
            reads = set(takewhile(lambda read: read >= cycle - 3, reversed(window)))    # noqa: B023 (used up at once)
            while cycle - 3 in reads:
                cycle += 1
            yield cycle
            cycle += geometry.word_bytes + 1
        cycle += _STREAM_GAP


def _freed(geometry: Geometry, tiles: list[_Tile]) -> Iterator[int]:
    """For each tile, the cycle in which the last of its sums is taken from the result FIFOs.

    A generator that runs as far behind as the sequencer is ahead: it reads tile i when tile i + 1 has been issued.
    """
    header = HEADER.size + RESULT.size
    now = 0                        # cycle in which the packer can next hand on a byte
    taken = [0] * geometry.rows    # cycle in which a row's FIFO last gave a sum
    empty = 0                      # from when the register behind the FIFOs takes the next one
    halves = [0, 0]                # from when each half of the framer's buffer can be filled
    open_at = 0                    # from when the framer takes the next frame's bytes
    send_at = 0                    # from when the framer can start to send the next frame
    room = 0                       # result bytes left in the frame

    for tile in tiles:
        job = tile.job
        if tile.first:
            now = max(now + 2, tile.fetched + 2)    # two cycles to fetch the job's description, which came with the job
            empty = now
            left = job.n * job.rows * job.result_bytes
        for col in range(geometry.cols):
            for row in range(job.rows):
                # Registers before the memories and at the array's input, the array, and two cycles through an empty queue.
                present = max(tile.column[col] + 2 + geometry.latency + row + 2, taken[row] + 1)
                if col >= tile.cols:    # no outputs of the matrix
                    now = max(now, present) + 1
                    taken[row] = now - 1
                    continue
                taken[row] = max(present, empty)
                for _ in range(job.result_bytes):
                    if not room:
                        room = RESULT_BYTES
                        now = max(now, open_at, taken[row] + 1) + header
                    empty = max(now, taken[row] + 1)
                    now = empty + 1
                    room -= 1
                    left -= 1
                    if not room or not left:
                        start = max(now - 1 + _CLOSE, send_at)
                        send_at = start + header + RESULT_BYTES - room + CRC_BYTES + 2
                        halves = [halves[1], send_at]
                        open_at = max(now - 1 + _CLOSE, halves[0]) + 1
                        room = 0
                        now += 1    # to tell the end
        yield taken[job.rows - 1]
