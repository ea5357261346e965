"""Hostile bytes into the compiled gateware, with the device `model` and the protocol's rules as the judge: ``python -m tritloom.sim.fuzz``."""
