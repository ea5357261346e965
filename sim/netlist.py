"""A device as a netlist, simulated by Icarus Verilog: what the driver says to the model is said to the netlist, over its serial pins."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tritloom.host.framing import Decoder, Frame
from tritloom.rtl.geometry import Geometry
from tritloom.sim.model_device import ModelDevice

__all__ = ["Recorded", "simulate"]

#: Bytes of time without a bit from the device after which it has said all. A job must not take longer.
_QUIET = 12

#: Sends `send.hex` and writes what comes back to `got.hex`. Where a number in it is over 255, it waits until the device has nothing to say.
_BENCH = """\
`timescale 1ns / 1ps
module bench;
    localparam real BIT = %(bit_ns)f;
    reg clock = 0, reset = 1, rx = 1;
    wire tx;
    reg [8:0] items [0:%(items)d - 1];
    reg [7:0] got;
    real heard = 0;
    integer at, i, j, file;
    %(device)s
    always #(%(half_ns)f) clock = ~clock;
    initial begin
        file = $fopen("got.hex", "w");
        $readmemh("send.hex", items);
        repeat (4) @(negedge clock);
        reset = 0;
        #(%(settle_ns)f) @(negedge clock);
        for (at = 0; at < %(items)d; at = at + 1)
            if (items[at][8]) begin
                heard = $realtime;
                while ($realtime - heard < %(quiet)d * 10 * BIT) #BIT;
            end else begin
                rx = 0;
                for (j = 0; j < 8; j = j + 1) #BIT rx = items[at][j];
                #BIT rx = 1;
                #BIT;
            end
        $finish;
    end
    always begin
        @(negedge tx) #(1.5 * BIT);
        for (i = 0; i < 8; i = i + 1) begin
            got[i] = tx;
            #BIT;
        end
        heard = $realtime;
        $fdisplay(file, "%%02x", got);
    end
endmodule
"""


class Recorded(ModelDevice):
    """The model, and what went in and came out."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        self.sent: list[bytes] = []    # what was written at once, each after the answers to the one before
        self.answered = b""

    def write(self, data: bytes) -> None:
        self.sent.append(data)
        super().write(data)

    def read(self, timeout_s: float) -> bytes:
        data = super().read(timeout_s)
        self.answered += data
        return data


def simulate(folder: Path, device: str, sources: Sequence[Path | str], sent: Sequence[bytes], *, clock_hz: int, baud: int,
             settle_ns: float = 0.0) -> list[Frame | None]:
    """The frames with which a netlist answers; None for one that is damaged.

    Parameters
    ----------
    folder : Path
        Where to work.
    device : str
        Verilog that instantiates it, with the bench's `clock`, `reset` (four cycles long), `rx` and `tx`.
    sources : sequence of Path or str
        Verilog files, relative to `folder`, and options for Icarus.
    sent : sequence of bytes
        What is sent, each piece when nothing comes back to the one before any more.
    clock_hz : int
        Of `clock`, in hertz.
    baud : int
    settle_ns : float
        Between the reset's end and the first byte.

    Raises
    ------
    subprocess.CalledProcessError
        If Icarus fails.
    """
    items = [item for piece in sent for item in [*piece, 0x100]]
    (folder / "send.hex").write_text("\n".join(f"{item:03x}" for item in items))
    (folder / "bench.v").write_text(_BENCH % {
        "device": device, "items": len(items), "bit_ns": 1e9 / baud, "half_ns": 5e8 / clock_hz, "settle_ns": settle_ns, "quiet": _QUIET})
    subprocess.run(["iverilog", "-g2005", "-s", "bench", "-o", "bench.vvp", "bench.v", *sources], cwd=folder, check=True)
    subprocess.run(["vvp", "-n", "bench.vvp"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    # A byte may be unknown ("xx"), which is no frame either.
    lines = (folder / "got.hex").read_text().split()
    return Decoder().feed(bytes(int(line.lower().replace("x", "f").replace("z", "f"), 16) for line in lines))
