"""Writes the tables of protocol.md from the wire definitions, between the markers there. `make docs` runs it; a test notices when it was not."""

from enum import IntEnum
from pathlib import Path

from tritloom.rtl import wire

PAGE = Path(__file__).with_name("protocol.md")


def tables() -> dict[str, str]:
    """Each generated part of the page by the name of its marker."""
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


def render(page: str) -> str:
    """The page with its generated parts renewed.

    Raises
    ------
    ValueError
        If a marker is missing.
    """
    for name, text in tables().items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = page.partition(start)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"{PAGE.name} must have the markers {start.strip()!r} and {end.strip()!r}")
        page = f"{before}{start}{text}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
