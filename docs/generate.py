"""Writes the tables of protocol.md from the wire definitions, those of models.md by the planner, and the proofs of trust.md, between the markers there.

`make docs` runs it; a test notices when it was not.
"""

from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from pathlib import Path

from tritloom.boards import boards, find
from tritloom.boards.machine import Machine
from tritloom.boards.plan import Plan, plan
from tritloom.host.cli.plan import amount, rate
from tritloom.host.model.needs import Needs
from tritloom.host.model.published import PUBLISHED
from tritloom.host.model.shape import shape_of
from tritloom.rtl import wire
from tritloom.sim.formal.table import markdown


def protocol() -> dict[str, str]:
    """Each generated part of protocol.md by the name of its marker."""
    return {
        "sizes": _table(("what", "bytes"), [
            ("longest frame, CRC included, before COBS", wire.FRAME_BYTES),
            ("payload of the longest frame", wire.PAYLOAD_BYTES),
            ("results in the longest RESULT frame", wire.RESULT_BYTES),
            ("commands that a device buffers", wire.RX_BYTES),
        ]),
        "operations": _table(("code", "operation", "sent by"), [
            (f"`{op:#04x}`", op.name, "host" if op < 0x80 else "device") for op in wire.Op
        ]),
        "errors": _table(("code", "error"), [(error.value, error.name) for error in wire.Error]),
        "choices": _table(("field", "values"), [
            (f"`{name}`", ", ".join(f"{choice.value} {choice.name}" for choice in choices)) for name, choices in _CHOICES.items()
        ]),
        "records": "\n\n".join(_record(record) for record in wire.RECORDS),
    }


_CHOICES: dict[str, type[IntEnum]] = {
    "memory": wire.Memory, "engine": wire.Engine, "source": wire.Source, "destination": wire.Destination, "weights": wire.Weights,
}


def _record(record: wire.Record) -> str:
    rows, at = [], 0
    for field in record.fields:
        rows.append((at, field.bits // 8, f"`{field.name}`", field.doc))
        at += field.bits // 8
    return f"#### {record.name} ({record.size} bytes)\n\n{record.doc}\n\n{_table(('at', 'bytes', 'field', 'meaning'), rows)}"


def _table(head: tuple, rows: list[tuple]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def models() -> dict[str, str]:
    """Each generated part of models.md by the name of its marker."""
    return {"sizes": _sizes(), "boards": _boards(), "memories": _memories()}


def _sizes() -> str:
    rows = []
    for name, known in PUBLISHED.items():
        config, needs = known.config, Needs(known.config, known.config.max_position_embeddings)
        shape = (config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads, config.num_key_value_heads,
                 config.head_dim)
        rows.append((f"`{name}`", "; ".join(map(str, shape)), f"{config.vocab_size:,}", f"{config.max_position_embeddings:,}", f"{config.ternary_weights / 1e9:.3f}",
                     amount(needs.weights("2bit")), amount(needs.weights("base3")), amount(needs.table("bfloat16")), amount(needs.cache("float16"))))
    return _table(("name", "layers; hidden; FFN; heads; KV heads; width", "vocabulary", "context", "ternary weights, 10⁹", "at 2 bits", "at 1.6",
                   "embedding, head, 16 bits", "cache, 16 bits"), rows)


def _boards() -> str:
    rows = []
    for board in boards():
        nano, large = (plan(shape_of(model), Machine.of(board)) for model in ("nano", "2b-4t"))
        rows.append((board.name, str(board.geometry), f"{board.clock_hz / 1e6:g} MHz, {board.baud / 1e6:.3g} Mbaud", f"{nano.resident_share:.0%}", *_speeds(nano),
                     *_speeds(large), nano.decode.bound if nano.decode.bound == large.decode.bound else f"{nano.decode.bound}; {large.decode.bound}"))
    return _table(("board", "geometry", "clock, UART", "of `nano` on it", "`nano`: prefill", "decode", "`2b-4t`: prefill", "decode", "bound by"), rows)


def _memories() -> str:
    board = find("ulx3s_85f")
    rows = []
    for packing in ("2bit", "base3"):
        for bandwidth in (1e8, 4e8, 8e8, 1.6e9, 3.2e9):
            machine = replace(Machine.of(board, bandwidth=bandwidth, packing=packing), board=None, baud=None)
            planned = plan(shape_of("2b-4t"), machine)
            rows.append((amount(bandwidth, "B/s"), packing, *_speeds(planned), planned.decode.bound, f"{planned.decode.of_peak:.1%}"))
    return _table(("weights come at", "packing", "prefill", "decode", "decode is bound by", "of its peak"), rows)


def _speeds(planned: Plan) -> tuple[str, str]:
    return rate(planned.prefill.tokens_per_s), rate(planned.decode.tokens_per_s)


def trust() -> dict[str, str]:
    """The generated part of trust.md by the name of its marker."""
    return {"proofs": markdown()}


#: Each page, and what makes its parts.
PAGES: dict[Path, Callable[[], dict[str, str]]] = {Path(__file__).with_name(name): make for name, make in
                                                   (("protocol.md", protocol), ("models.md", models), ("trust.md", trust))}


def render(page: str, parts: dict[str, str], name: str) -> str:
    """A page with its generated parts renewed.

    Raises
    ------
    ValueError
        If a marker is missing.
    """
    for marker, text in parts.items():
        start, end = f"<!-- {marker} -->\n", f"<!-- end of {marker} -->"
        before, found, rest = page.partition(start)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"{name} must have the markers {start.strip()!r} and {end.strip()!r}")
        page = f"{before}{start}{text}\n{end}{after}"
    return page


if __name__ == "__main__":
    for path, make in PAGES.items():
        path.write_text(render(path.read_text(), make(), path.name))
