// SB_SPRAM256KA of the iCE40 UltraPlus, from Lattice's SPRAM usage guide (TN1314): 16,384 words of 16 bits, one port, one access a cycle.
// What DATAOUT shows after a write, and in standby, is not stated there: here it is unknown. So is what a memory holds before it is written.
module SB_SPRAM256KA (
    input [13:0] ADDRESS,
    input [15:0] DATAIN,
    input [3:0] MASKWREN,
    input WREN, CHIPSELECT, CLOCK, STANDBY, SLEEP, POWEROFF,
    output reg [15:0] DATAOUT
);
    reg [15:0] words [0:16383];
    always @(posedge CLOCK)
        if (SLEEP || !POWEROFF || STANDBY)    // POWEROFF is active low
            DATAOUT <= 16'bx;
        else if (CHIPSELECT) begin
            if (WREN) begin
                if (MASKWREN[0]) words[ADDRESS][3:0] <= DATAIN[3:0];
                if (MASKWREN[1]) words[ADDRESS][7:4] <= DATAIN[7:4];
                if (MASKWREN[2]) words[ADDRESS][11:8] <= DATAIN[11:8];
                if (MASKWREN[3]) words[ADDRESS][15:12] <= DATAIN[15:12];
                DATAOUT <= 16'bx;
            end else
                DATAOUT <= words[ADDRESS];
        end
endmodule
