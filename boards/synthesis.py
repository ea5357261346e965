"""Yosys' scripts, one a family."""

from __future__ import annotations

from tritloom.rtl.family import Family

__all__ = ["script"]

# abc9, which the families' commands run, ends without a word in pip's Yosys 0.70 where hundreds of carry cells are instantiated. The plain
# mapper counts no delays through carries, but takes 6 % fewer LUTs (array 4,8,16 on ECP5: 2,664 beside 2,970 and 336 PFUMX) and half the time.
# On Gowin the array 2,4,16 takes 718 LUTs beside 1,306 and 632 multiplexers, as `synth_gowin` makes wide functions out of both.
_PLAIN_ABC = "abc -dress -lut 4; clean"

_COMMANDS = {
    Family.GENERIC: "synth -lut 4 -top top",
    # A clock enable for a flip-flop or two is a wire more at the end of the longest paths: 46.8 MHz on the iCEBreaker in the mean of four seeds, 47.8 so.
    Family.ICE40: "synth_ice40 -device u -dffe_min_ce_use 5 -top top",
    Family.ECP5: f"synth_lattice -family ecp5 -top top -run begin:map_luts; {_PLAIN_ABC}; synth_lattice -family ecp5 -top top -run map_cells:json",
    Family.GOWIN: f"synth_gowin -top top -run begin:map_luts; {_PLAIN_ABC}; synth_gowin -top top -run map_cells:vout",
}

#: What a family's adders instantiate and Yosys does not know: cells that it must neither look into nor complain of.
_CELLS = {
    Family.GOWIN: """\
(* blackbox *)
module TRITLOOM_ALU (input I0, I1, I2, I3, CIN, output SUM, COUT);
    parameter [15:0] RAW_ALU_LUT = 0;
endmodule""",
}


def script(family: Family, rtlil: str, json: str, statistics: str) -> str:
    """What Yosys has to do, from Amaranth's RTLIL with the module `top` to cells that nextpnr knows.

    Parameters
    ----------
    family : Family
    rtlil : str
        File to read.
    json : str
        File that gets the netlist.
    statistics : str
        File that gets the cell counts as JSON.
    """
    cells = ["read_verilog -lib <<END", _CELLS[family], "END"] if family in _CELLS else []
    return "\n".join([*cells, f"read_rtlil {rtlil}", *_COMMANDS[family].split("; "), f"tee -q -o {statistics} stat -json", f"write_json {json}", ""])
