"""``python -m tritloom.sim.formal``: proves the gateware's properties, and shows for each what breaks it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from .properties import ALL
from .property import Property
from .prove import SOLVERS, break_with, missing, prove, reach
from .table import markdown

__all__ = ["main"]


@click.command()
@click.argument("names", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="Say what there is to prove, and prove nothing.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print all of it as the table of docs/trust.md, and prove nothing.")
@click.option("--solver", type=click.Choice(list(SOLVERS)), default="yices", show_default=True)
@click.option("--traces", type=click.Path(file_okay=False, path_type=Path), default=Path("build/formal"), show_default=True,
              help="Where counterexamples go, as VCD files.")
def main(names: tuple[str, ...], only_list: bool, as_markdown: bool, solver: str, traces: Path) -> None:
    """Prove properties of the gateware: all, or those whose name begins with one of NAMES."""
    if as_markdown:
        click.echo(markdown())
        return
    chosen = [about for about in ALL if not names or about.name.startswith(names)]
    if not chosen:
        raise click.UsageError(f"no property's name begins with {' or '.join(names)}: see --list")
    if only_list:
        for about in chosen:
            click.echo(f"{about.name:32} {about.bound:32} {about.promise}")
        return
    if lacks := missing(solver):
        raise click.ClickException(lacks)
    wrong = sum(not _one(about, solver, traces) for about in chosen)
    click.echo(f"{len(chosen) - wrong} of {len(chosen)} properties hold, and every one of their mutations was noticed")
    if wrong:
        raise SystemExit(1)


def _one(about: Property, solver: str, traces: Path) -> bool:
    """Prove one property and break it; say how it went."""
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, check in (("", prove), ("reaches: ", reach)):
            outcome = check(about, folder, solver=solver)
            if not outcome.holds:
                good = False
                kept = traces / f"{about.name}.vcd"
                if outcome.trace:
                    traces.mkdir(parents=True, exist_ok=True)
                    outcome.trace.replace(kept)
                click.echo(f"{about.name:32} NOT PROVED: {what}{outcome.broken} (cycle {outcome.step}{f', {kept}' if outcome.trace else ''})")
            elif not what:
                click.echo(f"{about.name:32} {about.bound:32} {outcome.seconds:6.1f} s  {about.promise}")
        for mutation in about.mutations:
            outcome = break_with(mutation, about, folder, solver=solver)
            good &= not outcome.holds
            how = "NOT NOTICED" if outcome.holds else f"cycle {outcome.step}"
            click.echo(f"{'':32} {'broken by, ' + how:32} {outcome.seconds:6.1f} s  {mutation}")
    return good


if __name__ == "__main__":
    main()
