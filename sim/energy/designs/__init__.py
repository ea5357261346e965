"""What the gate level measures: the shipped elements and array, their variants, and peers of other number formats."""
