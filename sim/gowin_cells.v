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

// The two block RAMs that Yosys makes of a port that writes and one that reads, before place and route.
module DPX9B (
    input CLKA, CEA, CLKB, CEB, OCEA, OCEB, RESETA, RESETB, WREA, WREB, input [13:0] ADA, ADB, input [17:0] DIA, DIB, input [2:0] BLKSELA, BLKSELB,
    output [17:0] DOA, DOB
);
    parameter BIT_WIDTH_0 = 9, BIT_WIDTH_1 = 9, RESET_MODE = "SYNC";
    parameter READ_MODE0 = 0, READ_MODE1 = 0, WRITE_MODE0 = 0, WRITE_MODE1 = 0;
    parameter [2:0] BLK_SEL_0 = 0, BLK_SEL_1 = 0;
    parameter [287:0] INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0, INIT_RAM_04 = 0, INIT_RAM_05 = 0, INIT_RAM_06 = 0, INIT_RAM_07 = 0;
    parameter [287:0] INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0, INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0;
    parameter [287:0] INIT_RAM_10 = 0, INIT_RAM_11 = 0, INIT_RAM_12 = 0, INIT_RAM_13 = 0, INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0;
    parameter [287:0] INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0, INIT_RAM_1C = 0, INIT_RAM_1D = 0, INIT_RAM_1E = 0, INIT_RAM_1F = 0;
    parameter [287:0] INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0, INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0;
    parameter [287:0] INIT_RAM_28 = 0, INIT_RAM_29 = 0, INIT_RAM_2A = 0, INIT_RAM_2B = 0, INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0;
    parameter [287:0] INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0, INIT_RAM_34 = 0, INIT_RAM_35 = 0, INIT_RAM_36 = 0, INIT_RAM_37 = 0;
    parameter [287:0] INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0, INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0;
    localparam LANES = BIT_WIDTH_0 / 9;
    initial if (BIT_WIDTH_0 != BIT_WIDTH_1 || BIT_WIDTH_0 % 9 || BLK_SEL_0 || BLK_SEL_1 || READ_MODE0 || READ_MODE1 || WREB !== 0 || RESETA !== 0 || RESETB !== 0 || {BLKSELA, BLKSELB} !== 0 || OCEB !== 1) begin
        $display("%m: a DPX9B that is used in another way than this model knows");
        $finish;
    end
    wire [35:0] word;
    assign DOB = word[17:0], DOA = 18'bx;
    BOARD_BSRAM #(.WIDTH(BIT_WIDTH_0), .INIT({
        INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39, INIT_RAM_38,
        INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, INIT_RAM_33, INIT_RAM_32, INIT_RAM_31, INIT_RAM_30,
        INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B, INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28,
        INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24, INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20,
        INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D, INIT_RAM_1C, INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18,
        INIT_RAM_17, INIT_RAM_16, INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10,
        INIT_RAM_0F, INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08,
        INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, INIT_RAM_03, INIT_RAM_02, INIT_RAM_01, INIT_RAM_00})) memory (
        .CLKA(CLKA), .CLKB(CLKB), .WRITE(CEA && WREA), .READ(CEB), .ENABLES(LANES > 1 ? ADA[LANES - 1:0] : 1'b1), .ADA(ADA), .ADB(ADB),
        .DI({18'b0, DIA}), .DO(word));
endmodule

module SDPX9B (
    input CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB, input [13:0] ADA, ADB, input [2:0] BLKSELA, BLKSELB, input [35:0] DI, output [35:0] DO
);
    parameter BIT_WIDTH_0 = 9, BIT_WIDTH_1 = 9, RESET_MODE = "SYNC";
    parameter READ_MODE = 0;
    parameter [2:0] BLK_SEL_0 = 0, BLK_SEL_1 = 0;
    parameter [287:0] INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0, INIT_RAM_04 = 0, INIT_RAM_05 = 0, INIT_RAM_06 = 0, INIT_RAM_07 = 0;
    parameter [287:0] INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0, INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0;
    parameter [287:0] INIT_RAM_10 = 0, INIT_RAM_11 = 0, INIT_RAM_12 = 0, INIT_RAM_13 = 0, INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0;
    parameter [287:0] INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0, INIT_RAM_1C = 0, INIT_RAM_1D = 0, INIT_RAM_1E = 0, INIT_RAM_1F = 0;
    parameter [287:0] INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0, INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0;
    parameter [287:0] INIT_RAM_28 = 0, INIT_RAM_29 = 0, INIT_RAM_2A = 0, INIT_RAM_2B = 0, INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0;
    parameter [287:0] INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0, INIT_RAM_34 = 0, INIT_RAM_35 = 0, INIT_RAM_36 = 0, INIT_RAM_37 = 0;
    parameter [287:0] INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0, INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0;
    localparam LANES = BIT_WIDTH_0 / 9;
    initial if (BIT_WIDTH_0 != BIT_WIDTH_1 || BIT_WIDTH_0 % 9 || BLK_SEL_0 || BLK_SEL_1 || READ_MODE || RESETA !== 0 || RESETB !== 0 || {BLKSELA, BLKSELB} !== 0 || OCE !== 1) begin
        $display("%m: a SDPX9B that is used in another way than this model knows");
        $finish;
    end
    wire [35:0] word;
    assign DO = word;
    BOARD_BSRAM #(.WIDTH(BIT_WIDTH_0), .INIT({
        INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39, INIT_RAM_38,
        INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, INIT_RAM_33, INIT_RAM_32, INIT_RAM_31, INIT_RAM_30,
        INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B, INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28,
        INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24, INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20,
        INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D, INIT_RAM_1C, INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18,
        INIT_RAM_17, INIT_RAM_16, INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10,
        INIT_RAM_0F, INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08,
        INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, INIT_RAM_03, INIT_RAM_02, INIT_RAM_01, INIT_RAM_00})) memory (
        .CLKA(CLKA), .CLKB(CLKB), .WRITE(CEA), .READ(CEB), .ENABLES(LANES > 1 ? ADA[LANES - 1:0] : 1'b1), .ADA(ADA), .ADB(ADB),
        .DI(DI), .DO(word));
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
