"""FPGA families whose cells the gateware knows, and how a component learns which one it is built for."""

from enum import StrEnum

__all__ = ["Family", "family_of"]


class Family(StrEnum):
    """What a component may instantiate. It is handed down as Amaranth's `platform`, or derived from a board's."""

    GENERIC = "generic"
    ASIC = "asic"
    ECP5 = "ecp5"
    ICE40 = "ice40"
    GOWIN = "gowin"


def family_of(platform: object) -> Family:
    """Family that a component is being elaborated for: the one choice between cells.

    Parameters
    ----------
    platform : object
        What `elaborate` gets: a `Family`, an Amaranth platform of one of the families, or anything else (generic).
    """
    if isinstance(platform, Family):
        return platform
    if platform is None:
        return Family.GENERIC
    # By name, so that simulation does not import Amaranth's vendor platforms.
    names = {kind.__name__ for kind in type(platform).__mro__}
    if "SiliconBluePlatform" in names:
        return Family.ICE40
    if "LatticePlatform" in names and platform.device.upper().startswith("LFE5"):
        return Family.ECP5
    if "GowinPlatform" in names:
        return Family.GOWIN
    return Family.GENERIC
