// Gowin's cells as boards use them, for the netlists that `gowin_bitstream.py` writes. The ALU is in cocotb/cells/alu.v.
`timescale 1ns / 1ps

module BOARD_LUT4 (input I0, I1, I2, I3, output F);
    parameter [15:0] INIT = 0;
    wire [7:0] a = I3 ? INIT[15:8] : INIT[7:0];
    wire [3:0] b = I2 ? a[7:4] : a[3:0];
    wire [1:0] c = I1 ? b[3:2] : b[1:0];
    assign F = I0 ? c[1] : c[0];
endmodule

// Synchronous set and reset: those of the eight kinds that Yosys makes of our registers. They start as they are forced.
module BOARD_DFF (input CLK, D, CE, FORCE, output reg Q);
    parameter FORCED = 0;
    initial Q = FORCED;
    always @(posedge CLK) if (FORCE) Q <= FORCED; else if (CE) Q <= D;
endmodule

module BOARD_RAM16 (input CLK, WRE, input [3:0] DI, WAD, RAD, output [3:0] DO);
    parameter [63:0] INIT = 0;
    reg [15:0] words [3:0];
    integer bit;
    initial for (bit = 0; bit < 4; bit = bit + 1) words[bit] = INIT[16 * bit +: 16];
    always @(posedge CLK) if (WRE) for (bit = 0; bit < 4; bit = bit + 1) words[bit][WAD] <= DI[bit];
    assign DO = {words[3][RAD], words[2][RAD], words[1][RAD], words[0][RAD]};
endmodule

// A port that writes and one that reads. A word that is read while it is written comes out wrong: nobody may rely on it.
module BOARD_BSRAM (CLKA, CLKB, WRITE, READ, ENABLES, ADA, ADB, DI, DO);
    parameter WIDTH = 18;
    parameter [18431:0] INIT = 0;
    localparam LANES = WIDTH / 9, SHIFT = WIDTH == 9 ? 3 : WIDTH == 18 ? 4 : 5;
    input CLKA, CLKB, WRITE, READ;
    input [LANES - 1:0] ENABLES;
    input [13:0] ADA, ADB;
    input [35:0] DI;
    output reg [35:0] DO;
    reg [WIDTH - 1:0] words [0:18432 / WIDTH - 1];
    wire [13:0] write_at = ADA >> SHIFT, read_at = ADB >> SHIFT;
    integer at, lane;
    initial begin
        DO = 0;
        for (at = 0; at < 18432 / WIDTH; at = at + 1) words[at] = INIT[at * WIDTH +: WIDTH];
    end
    always @(posedge CLKA) if (WRITE)
        for (lane = 0; lane < LANES; lane = lane + 1) if (ENABLES[lane]) words[write_at][9 * lane +: 9] <= DI[9 * lane +: 9];
    always @(posedge CLKB) if (READ) DO <= WRITE && write_at == read_at ? ~words[read_at] : words[read_at];
endmodule

// Measures its input, as a PLL does, and then runs by itself; the divider behind the oscillator does not change the output's rate.
module BOARD_PLL (input CLKIN, output reg CLKOUT, output reg LOCK);
    parameter DIVIDE = 1, MULTIPLY = 1;
    real first, period;
    initial begin
        CLKOUT = 0;
        LOCK = 0;
        @(posedge CLKIN) first = $realtime;
        repeat (10) @(posedge CLKIN);
        period = ($realtime - first) / 10 * DIVIDE / MULTIPLY;
        repeat (100) #(period / 2) CLKOUT = ~CLKOUT;
        LOCK = 1;
        forever #(period / 2) CLKOUT = ~CLKOUT;
    end
endmodule
