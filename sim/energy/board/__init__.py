"""Level "board": readings of a power meter, aligned with the run that they belong to."""
