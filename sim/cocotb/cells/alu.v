// Gowin's ALU cell with its table set freely (Apicula, doc/alu.md): the table's output is exclusive-ored with the carry and decides whether
// the carry passes; else the table's lower quarter, which does not see I2 and I3, makes the next carry.
module TRITLOOM_ALU (
    input I0, I1, I2, I3, CIN,
    output SUM, COUT
);
    parameter [15:0] RAW_ALU_LUT = 0;
    // As multiplexers, not as an index: an unknown input that makes no difference stays without consequence.
    wire [3:0] quarter = I3 ? (I2 ? RAW_ALU_LUT[15:12] : RAW_ALU_LUT[11:8]) : (I2 ? RAW_ALU_LUT[7:4] : RAW_ALU_LUT[3:0]);
    wire p = I1 ? (I0 ? quarter[3] : quarter[2]) : (I0 ? quarter[1] : quarter[0]);
    wire g = I1 ? (I0 ? RAW_ALU_LUT[3] : RAW_ALU_LUT[2]) : (I0 ? RAW_ALU_LUT[1] : RAW_ALU_LUT[0]);
    assign SUM = p ^ CIN;
    assign COUT = p ? CIN : g;
endmodule
