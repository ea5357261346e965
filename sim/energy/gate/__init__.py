"""Level "gate": standard cells, simulated on what a model's run puts into them."""
