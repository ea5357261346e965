"""From a design to a netlist of a library's cells, by Yosys, in two ways that differ in how adders are made.

``fa`` keeps the adders that the design has, as chains and trees of the library's full-adder and half-adder cells: what a designer of
such circuits does. ``abc`` lets Yosys make gates of them (carry lookahead) and ABC cells of the gates, which never finds an adder cell. The truth for a
real tool lies between them or below; a figure is given for both.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tritloom.boards.errors import ToolError
from tritloom.boards.toolchain import Tool, find_toolchain, last_error
from tritloom.rtl.family import Family
from tritloom.sim.energy.gate.design import Design
from tritloom.sim.energy.gate.errors import LibraryError
from tritloom.sim.energy.gate.liberty import Cell, Library
from tritloom.sim.energy.gate.netlist import Netlist, read_netlist

__all__ = ["Flow", "find_yosys", "source_text", "synthesise"]

_HALF = ((0, 1, 1, 0), (0, 0, 0, 1))
_FULL = ((0, 1, 1, 0, 1, 0, 0, 1), (0, 0, 0, 1, 0, 1, 1, 1))

#: First, each bit of an adder becomes one cell of ours ...
_TO_BITS = """\
(* techmap_celltype = "$fa" *)
module tritloom_fa_cells (A, B, C, X, Y);
    parameter WIDTH = 1;
    input [WIDTH-1:0] A, B, C;
    output [WIDTH-1:0] X, Y;
    genvar i;
    generate for (i = 0; i < WIDTH; i = i + 1) begin
        TRITLOOM_FA adder (.A(A[i]), .B(B[i]), .C(C[i]), .S(Y[i]), .CO(X[i]));
    end endgenerate
endmodule

(* techmap_celltype = "$alu" *)
module tritloom_alu_cells (A, B, CI, BI, X, Y, CO);
    parameter A_SIGNED = 0, B_SIGNED = 0, A_WIDTH = 1, B_WIDTH = 1, Y_WIDTH = 1;
    input [A_WIDTH-1:0] A;
    input [B_WIDTH-1:0] B;
    input CI, BI;
    output [Y_WIDTH-1:0] X, Y, CO;
    wire [Y_WIDTH-1:0] a, b0;
    \\$pos #(.A_SIGNED(A_SIGNED), .A_WIDTH(A_WIDTH), .Y_WIDTH(Y_WIDTH)) pos_a (.A(A), .Y(a));
    \\$pos #(.A_SIGNED(B_SIGNED), .A_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH)) pos_b (.A(B), .Y(b0));
    wire [Y_WIDTH-1:0] b = b0 ^ {Y_WIDTH{BI}};
    wire [Y_WIDTH:0] c = {CO, CI};
    genvar i;
    generate for (i = 0; i < Y_WIDTH; i = i + 1) begin
        TRITLOOM_FA adder (.A(a[i]), .B(b[i]), .C(c[i]), .S(Y[i]), .CO(CO[i]));
    end endgenerate
    assign X = a ^ b;
endmodule
"""

#: How a map sees which inputs of a full adder are constants: a, b and c.
_INPUTS = """\
    input A, B, C;
    output S, CO;
    parameter _TECHMAP_CONSTMSK_A_ = 0, _TECHMAP_CONSTMSK_B_ = 0, _TECHMAP_CONSTMSK_C_ = 0;
    parameter _TECHMAP_CONSTVAL_A_ = 0, _TECHMAP_CONSTVAL_B_ = 0, _TECHMAP_CONSTVAL_C_ = 0;
    localparam a = _TECHMAP_CONSTMSK_A_ == 1, b = _TECHMAP_CONSTMSK_B_ == 1, c = _TECHMAP_CONSTMSK_C_ == 1;
"""

#: ... of which those with two constants or three are wires: an adder cell is a box to Yosys, and no constant would ever get through it. (A
#: multiplier's rows are padded with them: without this, a twelfth of an fp16 element's switching is in full adders that add zeros.)
_CONSTANTS = """\
(* techmap_celltype = "TRITLOOM_FA" *)
module tritloom_constant (A, B, C, S, CO);
""" + _INPUTS + """\
    localparam integer ones = (a && _TECHMAP_CONSTVAL_A_ == 1) + (b && _TECHMAP_CONSTVAL_B_ == 1) + (c && _TECHMAP_CONSTVAL_C_ == 1);
    wire _TECHMAP_FAIL_ = a + b + c < 2;
    wire other = !a ? A : !b ? B : C;
    generate
        if (a + b + c == 3) begin
            assign S = ones == 1 || ones == 3;
            assign CO = ones >= 2;
        end else if (ones == 0) begin
            assign S = other;
            assign CO = 1'b0;
        end else if (ones == 1) begin
            assign S = ~other;
            assign CO = other;
        end else begin
            assign S = other;
            assign CO = 1'b1;
        end
    endgenerate
endmodule
"""

#: What is left is a full adder, a half adder, or, with a constant 1, gates.
_TO_CELLS = """\
(* techmap_celltype = "TRITLOOM_FA" *)
module tritloom_bit (A, B, C, S, CO);
""" + _INPUTS + """\
    localparam one = (a && _TECHMAP_CONSTVAL_A_ == 1) || (b && _TECHMAP_CONSTVAL_B_ == 1) || (c && _TECHMAP_CONSTVAL_C_ == 1);
    // With two constants it would be wrong, so it stays what it is, which is an error.
    wire _TECHMAP_FAIL_ = (a && b) || (a && c) || (b && c);
    wire p = a ? B : A;
    wire q = c ? B : C;
    generate
        if (!a && !b && !c) {full}
        else if (!one) {half}
        else begin
            assign S = ~(p ^ q);
            assign CO = p | q;
        end
    endgenerate
endmodule
"""

_BLACK_BOX = "(* blackbox *) module TRITLOOM_FA (input A, B, C, output S, CO); endmodule\n"

#: Bits of an adder through which constants are followed, at most.
_CHAIN = 32


class Flow(StrEnum):
    """How adders are made."""

    FA = "fa"
    ABC = "abc"


@dataclass(frozen=True)
class _Adder:
    """A library's adder cell and its pins."""

    cell: str
    inputs: tuple[str, ...]
    total: str
    carry: str

    def instance(self, *nets: str) -> str:
        pins = ", ".join(f".{pin}({net})" for pin, net in zip((*self.inputs, self.total, self.carry), (*nets, "S", "CO"), strict=True))
        return f"{self.cell} made ({pins});"


def find_yosys() -> Tool:
    """Yosys as the boards' builds find it (``$YOSYS``, pip's, the PATH's).

    Raises
    ------
    ToolError
        If it is not installed.
    """
    return find_toolchain(Family.ICE40).synthesis


def source_text(design: Design) -> tuple[str, str]:
    """What Yosys reads: a file's suffix, ``.v`` or ``.il``, and its text."""
    source = design.source()
    if isinstance(source, str):
        return ".v", source
    from amaranth.back import rtlil

    from tritloom.rtl.ports import ports

    return ".il", rtlil.convert(source, name="top", platform=design.family, ports=ports(source), emit_src=False)


def synthesise(design: Design, library: Library, flow: Flow) -> Netlist:
    """Make cells of a design.

    Raises
    ------
    ToolError
        If Yosys is missing or fails.
    LibraryError
        If the flow needs a full-adder and a half-adder cell and the library has none.
    NetlistError
        If something is left that is no cell of the library.
    """
    yosys = find_yosys()
    with _folder() as folder:
        reader = _write_source(design, folder)
        shutil.copy(library.path, folder / "cells.lib")     # pip's Yosys sees nothing outside of the folder
        (folder / "top.ys").write_text(_script(library, flow, reader, folder))
        try:
            yosys.run(["-q", "-l", "all.log", "top.ys"], folder, folder / "yosys.log")
        except ToolError as error:
            # What pip's Yosys prints behind `abc` gets lost, and only its own log has the reason.
            log = folder / "all.log"
            raise ToolError(f"yosys failed on {design.name}: {last_error(log.read_text(errors='replace'), 1)}" if log.exists() else str(error)) from error
        return read_netlist(folder / "top.json", library)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tritloom-energy-") as name:
        yield Path(name)


def _write_source(design: Design, folder: Path) -> str:
    """The design's text in a file; the command that reads it."""
    suffix, text = source_text(design)
    (folder / f"top{suffix}").write_text(text, encoding="utf-8")
    return {".v": "read_verilog -sv top.v", ".il": "read_rtlil top.il"}[suffix]


def _script(library: Library, flow: Flow, reader: str, folder: Path) -> str:
    # A standard cell has no initial value; what needs one has a reset, and what has neither is unknown until it is written, as in silicon.
    steps = ["read_liberty -lib cells.lib", reader, "setattr -unset init w:*"]
    if flow is Flow.FA:
        full = _find(library, _FULL, 3)
        half = _find(library, _HALF, 2)
        (folder / "bits.v").write_text(_TO_BITS)
        (folder / "boxes.v").write_text(_BLACK_BOX)
        (folder / "constants.v").write_text(_CONSTANTS)
        (folder / "adders.v").write_text(_TO_CELLS.replace("{full}", full.instance("A", "B", "C")).replace("{half}", half.instance("p", "q")))
        steps += [
            "read_verilog -lib boxes.v",
            "synth -top top -flatten -run begin:fine",
            "maccmap",
            "techmap -map bits.v",
            "synth -top top -run fine:check",
            # Only now are all constants known that there are. They go one adder further along a chain each time. What is missed is an adder with two
            # constants in the end, which `adders.v` refuses.
            *["opt_expr; opt_clean", "techmap -map constants.v"] * _CHAIN,
            "opt_expr; opt_clean",
            "techmap -map adders.v",
            "techmap; opt_expr; opt_clean",
        ]
    else:
        steps += ["synth -top top -flatten"]
    steps += ["dfflibmap -liberty cells.lib", "abc -liberty cells.lib", "opt_clean -purge", "check -assert", "write_json top.json"]
    return "\n".join([*steps, ""])


def _find(library: Library, tables: tuple[tuple[int, ...], tuple[int, ...]], width: int) -> _Adder:
    """The smallest cell that adds `width` bits."""
    found: list[tuple[Cell, _Adder]] = []
    for cell in library.cells.values():
        inputs = tuple(cell.inputs)
        if len(inputs) == width and len(cell.outputs) == 2 and not cell.sequential:
            total, carry = (cell.output_of(inputs, table) for table in tables)
            if total and carry:
                found.append((cell, _Adder(cell.name, inputs, total, carry)))
    if not found:
        raise LibraryError(f"the library {library.name} ({library.path}) has no {'full' if width == 3 else 'half'}-adder cell: "
                           "give another library, or use the flow abc alone")
    return min(found, key=lambda pair: pair[0].area_um2)[1]
