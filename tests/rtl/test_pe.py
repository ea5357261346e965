"""The processing element: exact for every input, and on time."""

import pytest

from tritloom.rtl.geometry import Geometry
from tritloom.rtl.pe import PE

CODES = {0: 0b00, 1: 0b01, -1: 0b11}


def bits(values, width):
    return sum((value & (1 << width) - 1) << width * i for i, value in enumerate(values))


def feed(bench, geometry, stimulus):
    """Run ``(weights, acts, clear)`` of each cycle through a PE and compare `total`, every cycle, with plain arithmetic."""
    wait = geometry.tree_stages
    expected, total = [0] * (wait + 1), 0
    for weights, acts, clear in stimulus:
        total = (0 if clear else total) + sum(w * x for w, x in zip(weights, acts, strict=True))
        expected.append(total)

    async def process(ctx):
        # Lanes of cycle t meet the `clear` of cycle t + tree_stages and stand in `total` at t + tree_stages + 1.
        for t in range(len(stimulus) + wait + 1):
            assert ctx.get(bench.dut.total) + ctx.get(bench.dut.owed) == expected[t], f"cycle {t}, seed {bench.seed}"
            weights, acts, _ = stimulus[t] if t < len(stimulus) else ([0] * geometry.lanes, [85] * geometry.lanes, 0)
            ctx.set(bench.dut.weights.as_value(), bits([CODES[w] for w in weights], 2))
            ctx.set(bench.dut.acts.as_value(), bits(acts, 8))
            ctx.set(bench.dut.clear, stimulus[t - wait][2] if 0 <= t - wait < len(stimulus) else 0)
            await ctx.tick()
    bench.add(process)
    bench.run(len(stimulus) + wait + 10)


@pytest.mark.parametrize("tree_pitch", [1, 2, 3])
@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5, 8, 16])
def test_exact_at_any_time(bench, lanes, tree_pitch):
    geometry = Geometry(cols=1, lanes=lanes, tree_pitch=tree_pitch, depth=40 * lanes)
    test = bench(PE(geometry), seed=100 * lanes + tree_pitch)
    rng = test.rng
    stimulus = []
    while len(stimulus) < 200:
        # Whatever the sums were, what one `clear` starts stays within the geometry's depth.
        for i in range(rng.randint(1, 40)):
            kind = rng.randrange(4)
            weights = [(rng.choice([-1, 0, 1]), -1, 1, 0)[kind] for _ in range(lanes)]
            acts = [rng.choice([rng.randint(-128, 127), -128, 127, 0, -1]) for _ in range(lanes)]
            stimulus.append((weights, acts, int(i == 0)))
    feed(test, geometry, stimulus)


@pytest.mark.parametrize(("lanes", "depth"), [(1, 1), (1, 7), (2, 8), (3, 12), (4, 4), (5, 35), (8, 64), (16, 48)])
@pytest.mark.parametrize("weight, act", [(-1, -128), (1, 127), (1, -128), (-1, 127)])
def test_the_deepest_sum_fits(bench, lanes, depth, weight, act):
    """Full depth, all at one extreme: ``depth * 128`` is the accumulator's bound. Twice, so that the clear is at full scale too."""
    geometry = Geometry(cols=1, lanes=lanes, depth=depth)
    beats = [[weight] * min(lanes, depth - at) + [0] * max(0, lanes - depth + at) for at in range(0, depth, lanes)]
    test = bench(PE(geometry))
    feed(test, geometry, 2 * [(weights, [act] * lanes, int(i == 0)) for i, weights in enumerate(beats)])


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_every_activation_with_every_weight(bench, lanes):
    """All 256 activations on each lane, with each weight, beside a neighbour at an extreme."""
    geometry = Geometry(cols=1, lanes=lanes, depth=lanes)
    stimulus = []
    for lane in range(lanes):
        for act in range(-128, 128):
            for weight in (-1, 0, 1):
                stimulus.append(([weight if i == lane else -1 for i in range(lanes)], [act if i == lane else -128 for i in range(lanes)], 1))
    feed(bench(PE(geometry)), geometry, stimulus)


def test_no_weights_no_change(bench):
    """There is no enable: a cycle without work brings zero weights, and the sum stands whatever the activations do."""
    geometry = Geometry(cols=1, lanes=4, depth=4)
    stimulus = [([-1] * 4, [-128] * 4, 1)] + [([0] * 4, [act] * 4, 0) for act in (-128, -1, 0, 1, 127)]
    feed(bench(PE(geometry)), geometry, stimulus)
