"""`tritloom boards`: every board, what it is, and nothing heavy loaded to say so."""

from __future__ import annotations

import subprocess
import sys

from tritloom.boards import boards


def test_all_are_listed(record, succeed) -> None:
    found = record("boards")["boards"]
    assert [board["name"] for board in found] == [board.name for board in boards()]
    [icebreaker] = [board for board in found if board["name"] == "icebreaker"]
    assert icebreaker["part"] == "iCE40UP5K"
    assert icebreaker["family"] == "ice40"
    assert icebreaker["lanes_total"] >= 32
    assert icebreaker["clock_hz"] >= 45_000_000
    assert (icebreaker["baud"], icebreaker["max_baud"]) == (115_200, 3_000_000)
    assert icebreaker["peak_gmacs"] >= 1.44
    assert {board["name"] for board in found if board["timing_met"]} == {"icebreaker", "tang_nano_9k", "ulx3s_85f"}
    assert icebreaker["resident_weights"] >= 491_520    # nano's
    result = succeed("boards")
    for board in boards():
        assert board.name in result.stdout
    assert "tritloom build BOARD" in result.stderr


def test_nothing_heavy_is_loaded() -> None:
    code = ("import sys\nfrom tritloom.host.cli.program import program\nimport click.testing\n"
            "assert click.testing.CliRunner().invoke(program, ['boards', '--json']).exit_code == 0\n"
            "print([name for name in ('amaranth', 'amaranth_boards') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
