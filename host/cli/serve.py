"""`tritloom serve-device`: a simulated device for another process, which drives it like a board."""

from __future__ import annotations

import click

from tritloom.host.cli.options import device_option, faults_option, geometry_option, json_option
from tritloom.host.cli.output import note, print_json, write
from tritloom.host.cli.progress import waiting
from tritloom.host.errors import UsageError
from tritloom.host.faults import Faults, FaultyTransport
from tritloom.rtl.geometry import Geometry

__all__ = ["serve_device"]


@click.command("serve-device", short_help="Offer a device to another process.")
@device_option("sim")
@click.option("--board", metavar="NAME", help="Simulate this board instead, serial line and its rate included; needs --pty.")
@click.option("--listen", metavar="HOST:PORT", help="Offer it as a TCP socket; without HOST to this machine only; port 0 takes a free one.")
@click.option("--pty", is_flag=True, help="Offer it as a pseudo-terminal, which looks like a serial port.")
@faults_option
@geometry_option
@json_option
@click.pass_context
def serve_device(
    context: click.Context, device: str, board: str | None, listen: str | None, pty: bool, faults: Faults | None, geometry: Geometry | None, as_json: bool,
) -> None:
    """Offer a device to another process, one at a time, until Ctrl-C.

    Standard output gets what the other process gives to --device, as its only line. With --board, everything that follows "plug in the
    board" can be done without one: what is simulated is the board's own device, bit by bit on its serial line, and what the terminal is set to
    is the rate at which the other end of that line runs.
    """
    from tritloom.host.serve import serve
    from tritloom.host.tcp import split_address
    from tritloom.host.transport import open_transport

    # Both are checked again, but the device may take half a minute to build.
    if pty == (listen is not None):
        raise UsageError("a device must be served in one way: give --listen HOST:PORT or --pty")
    if listen is not None:
        split_address(listen)
    if board is not None:
        if context.get_parameter_source("device") is not click.core.ParameterSource.DEFAULT:
            raise UsageError(f"--board {board} is a device of its own: leave out --device {device}")
        if not pty:
            raise UsageError("a board has a serial line with a rate, which a TCP socket has not: serve it with --pty")
        device = f"board:{board}"

    def announce(where: str) -> None:
        if as_json:
            print_json({"device": device, "where": where})
        else:
            write(f"{where}\n")
            note(f"{device} is served there until Ctrl-C. For example: tritloom run --device {where}")

    with waiting(f"Opening {device}", quiet=as_json):
        transport = open_transport(device, geometry=geometry)
    if faults is not None:
        transport = FaultyTransport(transport, faults)
    try:
        serve(transport, listen=listen, pty=pty, announce=announce)
    except KeyboardInterrupt:
        click.echo(err=True)    # ends the line in which the terminal shows ^C
