// Models of the cells of tiny.lib, for tests.
`timescale 1ns/1ps
module INV (input A, output Y);
  not (Y, A);
  specify (A => Y) = (0.02, 0.01); endspecify
endmodule
module BUF (input A, output Y);
  buf (Y, A);
  specify (A => Y) = (0.03, 0.03); endspecify
endmodule
module NAND2 (input A, B, output Y);
  nand (Y, A, B);
  specify (A, B *> Y) = (0.03, 0.02); endspecify
endmodule
module XOR2 (input A, B, output Y);
  xor (Y, A, B);
  specify (A, B *> Y) = (0.08, 0.07); endspecify
endmodule
module HA (input A, B, output C, S);
  and (C, A, B);
  xor (S, A, B);
  specify (A, B *> C) = (0.06, 0.06); (A, B *> S) = (0.09, 0.08); endspecify
endmodule
module FA (input A, B, CI, output CO, S);
  wire ab = A ^ B;
  assign CO = A & B | CI & (A | B);
  assign S = ab ^ CI;
  specify (A, B, CI *> CO) = (0.1, 0.11); (A, B, CI *> S) = (0.15, 0.14); endspecify
endmodule
primitive tiny_dff (q, d, ck);
  output q;
  input d, ck;
  reg q;
  table
    0 r : ? : 0;
    1 r : ? : 1;
    ? f : ? : -;
    * ? : ? : -;
  endtable
endprimitive
module DFF (input CK, D, output Q);
  tiny_dff (Q, D, CK);
  specify (CK => Q) = (0.1, 0.12); endspecify
endmodule
