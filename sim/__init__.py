"""What runs without a board: the golden model, the cycle model, the gateware compiled, and its cocotb benches."""
