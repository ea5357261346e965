"""Boards: pins, clocks and links around the core, one file a board. None yet: the core runs as compiled RTL."""
