"""The weight store's Verilog, whatever memory it is made of: what was written is read, and only what is read counts."""

import cocotb
from agents import geometry, logged_rng, reset
from cocotb.triggers import ReadOnly, RisingEdge


@cocotb.test()
async def words(dut):
    """Writes wait for reads; every read brings the word that was last written, in every bank and at both its ends."""
    g, rng = geometry(), logged_rng(31)
    bits = 2 * g.cols * g.lanes
    ends = [at for bank in range(0, g.weight_words, 1 << 14) for at in (bank, bank + 1, min(bank + (1 << 14), g.weight_words) - 1)]
    places = sorted({*ends, *(rng.randrange(g.weight_words) for _ in range(40))})
    known = {}
    dut.writes__valid.value = dut.read.value = dut.address.value = 0
    await reset(dut)
    waiting, due = None, None
    for cycle in range(4 * len(places) + 600):
        if waiting is None and len(known) < len(places):
            waiting = places[len(known)], rng.getrandbits(bits)
        elif waiting is None and rng.random() < 0.3:
            waiting = rng.choice(places), rng.getrandbits(bits)
        read = bool(known) and rng.random() < 0.6
        at = rng.choice(list(known)) if read else rng.randrange(g.weight_words)
        dut.read.value, dut.address.value = int(read), at
        dut.writes__valid.value = int(waiting is not None)
        if waiting:
            dut.writes__payload.value = waiting[0] | waiting[1] << (g.weight_words - 1).bit_length()
        await ReadOnly()
        if due is not None:
            assert int(dut.word.value) == due, f"cycle {cycle}"
        assert bool(dut.writes__ready.value) != read, f"cycle {cycle}"
        due = known[at] if read else None
        await RisingEdge(dut.clk)
        if waiting and not read:
            known[waiting[0]] = waiting[1]
            waiting = None
    assert len(known) == len(places)
