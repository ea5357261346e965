"""Gateware of the accelerator: one clock domain, no pins. `geometry` and `wire` need the standard library only."""
