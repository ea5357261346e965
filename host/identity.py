"""What a device tells of itself, and whether that fits: the sentences name the board, and the command that would cure it."""

from __future__ import annotations

from dataclasses import dataclass

from tritloom.host.errors import IncompatibleDeviceError
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import IDENTITY, VERSION

__all__ = ["Identity"]

#: Where every version of the protocol has its number: behind the nonce.
_VERSION_AT = 4


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A device's reply to SYNC.

    Parameters
    ----------
    geometry : Geometry
    rx_bytes : int
        Bytes of commands that it buffers.
    clock_hz : int
        Its clock in hertz, 0 if it is simulated without one.
    max_baud : int
        Fastest rate of its link, 0 if that has none.
    board : str
        Name of its board, "" if it is none.
    owner : int
        Nonce of the last SYNC before this one that claimed it.
    """

    geometry: Geometry
    rx_bytes: int
    clock_hz: int
    max_baud: int
    board: str
    owner: int

    @classmethod
    def parse(cls, name: str, payload: bytes) -> Identity:
        """Read the payload of an IDENTITY that the device `name` sent.

        Raises
        ------
        IncompatibleDeviceError
            If it is of another version of the protocol, or its geometry is not what its digest says.
        """
        version = payload[_VERSION_AT] if len(payload) > _VERSION_AT else None
        if version != VERSION:
            raise IncompatibleDeviceError(f"{name}: the device speaks version {version} of the protocol, and this driver version {VERSION}: "
                                          "update the older of the two (`tritloom flash BOARD` updates a board)")
        try:
            record = IDENTITY.unpack(payload)
            geometry = Geometry(**{field: record[field] for field in Geometry.names()})
        except ValueError as error:
            raise IncompatibleDeviceError(f"{name}: the device's geometry is impossible: {error}") from error
        board = record["board"].to_bytes(16, "little").rstrip(b"\0").decode("ascii", "replace")
        if geometry.digest != record["digest"]:
            cure = f"flash this version with `{_flash(board, geometry)}`" if board else "rebuild it with this version"
            raise IncompatibleDeviceError(f"{name}: the device's geometry ({geometry}) is not the one that its digest {record['digest']:016x} "
                                          f"stands for ({geometry.digest:016x}): {cure}")
        return cls(geometry=geometry, board=board, **{key: record[key] for key in ("rx_bytes", "clock_hz", "max_baud", "owner")})

    def require(self, name: str, geometry: Geometry) -> None:
        """Refuse a device that is not what was asked for.

        Rows, columns and lanes must agree. So must all else, but for a board, which has memories and pipelines of its own, where the defaults
        are asked for.

        Raises
        ------
        IncompatibleDeviceError
            If the device `name` has another geometry.
        """
        standard = Geometry.parse(str(geometry))
        matter = [field for field in Geometry.names()
                  if not self.board or field in _PARSED or getattr(geometry, field) != getattr(standard, field)]
        differences = ", ".join(f"{field} {getattr(self.geometry, field)} instead of {getattr(geometry, field)}" for field in matter
                                if getattr(self.geometry, field) != getattr(geometry, field))
        if differences:
            cure = f": flash it with `{_flash(self.board, geometry)}`, or ask for {self.geometry}" if self.board else ""
            raise IncompatibleDeviceError(f"{name} has another geometry than was asked for: {differences}{cure}")


#: What ``R,C,L`` sets.
_PARSED = ("rows", "cols", "lanes")


def _flash(board: str, geometry: Geometry) -> str:
    return f"tritloom flash {board} --geometry {geometry}"
