"""The energy of an operation and of a token, in four levels that are never mixed: table, gate, board, model."""
