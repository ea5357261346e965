"""``python -m tritloom.sim.fuzz``: a campaign of hostile bytes, and what it reached."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from tritloom.sim.fuzz.campaign import Campaign, Found


@click.command()
@click.option("--seed", default=1, show_default=True, help="Of all that is random.")
@click.option("--bytes", "size", default=1_000_000, show_default=True, help="How many to send, at least.")
@click.option("--blind", is_flag=True, help="Do not let the states that were reached guide what is sent.")
@click.option("--save", type=click.Path(path_type=Path), help="Where to write input that the core treats wrongly.")
def main(seed: int, size: int, blind: bool, save: Path | None) -> None:
    """Send hostile bytes into the compiled core; after them a job must be exact, without a reset."""
    campaign = Campaign(seed, guided=not blind)
    begin = time.monotonic()
    try:
        done = campaign.run(size)
    except Found as found:
        if save is not None:
            save.write_text(repr(found.sent))
        sys.exit(f"tritloom fuzz: {found}")
    states, steps = campaign.device.reached()
    click.echo(f"seed {seed}: {done.sent} bytes in {done.bursts} bursts, {done.received} bytes came back, all as the protocol asks; "
               f"{done.checks} times the driver multiplied exactly; {time.monotonic() - begin:.0f} s")
    click.echo(f"reached {steps} steps of the command decoder, {states} joint states of four state machines; {done.kept} bursts were kept and changed")
    commands = sorted({command for command, _ in campaign.judge.outcomes})
    outcomes = sorted({outcome for _, outcome in campaign.judge.outcomes})
    click.echo(" ".join(f"{name:>12}" for name in ("", *outcomes)))
    for command in commands:
        click.echo(" ".join(f"{text:>12}" for text in (command, *(campaign.judge.outcomes.get((command, outcome), "-") for outcome in outcomes))))


if __name__ == "__main__":
    main()
