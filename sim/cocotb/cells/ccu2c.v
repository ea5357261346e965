// ECP5's carry cell, from Lattice's description (TN1265): two slots, each a lookup table whose output is exclusive-ored with the carry
// and decides whether the carry passes; else the table's lower quarter, which does not see C and D, makes the next carry.
module CCU2C #(
    parameter [15:0] INIT0 = 0, INIT1 = 0,
    parameter INJECT1_0 = "YES", INJECT1_1 = "YES"
) (
    input A0, B0, C0, D0, A1, B1, C1, D1, CIN,
    output S0, S1, COUT
);
    // As multiplexers, not as an index: an unknown input that makes no difference stays without consequence.
    wire [3:0] upper0 = D0 ? (C0 ? INIT0[15:12] : INIT0[11:8]) : (C0 ? INIT0[7:4] : INIT0[3:0]);
    wire [3:0] upper1 = D1 ? (C1 ? INIT1[15:12] : INIT1[11:8]) : (C1 ? INIT1[7:4] : INIT1[3:0]);
    wire p0 = B0 ? (A0 ? upper0[3] : upper0[2]) : (A0 ? upper0[1] : upper0[0]);
    wire p1 = B1 ? (A1 ? upper1[3] : upper1[2]) : (A1 ? upper1[1] : upper1[0]);
    wire g0 = B0 ? (A0 ? INIT0[3] : INIT0[2]) : (A0 ? INIT0[1] : INIT0[0]);
    wire g1 = B1 ? (A1 ? INIT1[3] : INIT1[2]) : (A1 ? INIT1[1] : INIT1[0]);
    wire carry0 = p0 ? CIN : g0;
    assign S0 = p0 ^ CIN;
    assign S1 = p1 ^ carry0;
    assign COUT = p1 ? carry0 : g1;
`ifndef FORMAL
    initial if (INJECT1_0 != "NO" || INJECT1_1 != "NO") begin
        $display("CCU2C: this model knows INJECT1 = NO only");
        $finish_and_return(1);
    end
`endif
endmodule
