"""`tritloom inspect`: what is in a model file, and what it would be on each board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tritloom.host.cli.options import json_option
from tritloom.host.cli.output import print_json, show_table
from tritloom.host.cli.plan import rate

if TYPE_CHECKING:
    from tritloom.host.model.file import ModelFile

__all__ = ["inspect"]


@click.command(short_help="Show what is in a model, and which boards hold it.")
@click.argument("name", metavar="MODEL")
@json_option
def inspect(name: str, as_json: bool) -> None:
    """Show what is in a model, which boards hold it, and how fast they would be.

    MODEL is a shipped model or a *.trit file. All of it is read, and its checksums are verified. `tritloom plan` tells more of one board.
    """
    from tritloom.host.model.catalogue import find_model
    from tritloom.host.model.file import open_model

    file = open_model(find_model(name))
    record = _record(file)
    if as_json:
        print_json(record)
        return
    config, sizes = record["config"], record["sizes"]
    show_table(["of the model", ""], [
        ["file", f"{record['path']}, {record['nbytes']:,} bytes"],
        ["architecture", record["architecture"]],
        ["layers, hidden, feed-forward", f"{config['num_hidden_layers']}, {config['hidden_size']:,}, {config['intermediate_size']:,}"],
        ["heads, key/value heads, width", f"{config['num_attention_heads']}, {config['num_key_value_heads']}, {config['head_dim']}"],
        ["vocabulary, context", f"{config['vocab_size']:,}, {config['max_position_embeddings']:,}"],
        ["RoPE theta, norms' epsilon", f"{config['rope_theta']:g}, {config['rms_norm_eps']:g}"],
        ["embedding", f"{record['embedding']}; the head is {'the same' if config['tie_word_embeddings'] else 'a matrix of its own, ' + record['head']}"],
        ["tokenizer", str(record["tokenizer"])],
        ["ternary weights", f"{sizes['ternary_weights']:,}, {sizes['zero_share']:.1%} are 0"],
        ["their bytes", f"{sizes['ternary_bytes']:,} ({record['packing']}, {sizes['bits_per_weight']:.3f} bits a weight)"],
        ["their order", _order(record["order"])],
        ["other weights", f"{sizes['float_weights']:,} in {sizes['float_bytes']:,} bytes"],
    ])
    shares = ["q", "k", "v", "o", "gate", "up", "down", "all"]
    show_table(["layer", *shares], [[str(row["layer"]), *(f"{row['zeros'][part]:.1%}" for part in shares)] for row in record["layers"]],
               caption="share of weights that are 0, by matrix", numbers=shares)
    show_table(["matrix", "outputs", "inputs", "scales"], [
        [part, f"{n:,}", f"{k:,}", _scales([layer["groups"][part] for layer in record["layers"]])] for part, (n, k) in record["shapes"].items()
    ], caption="of each layer", numbers=["outputs", "inputs"])
    columns = ["of the weights", "prefill", "decode"]
    show_table(["board", "holds", *columns, "bound by"], [
        [board["name"], "all" if board["resident"] else "part" if board["resident_share"] else "none", f"{board['resident_share']:.1%}", rate(board["prefill_tokens_per_s"]),
         rate(board["decode_tokens_per_s"]), board["bound"]] for board in record["boards"]
    ], caption="tokens/s, without the host's own time; what is not held is streamed for every token", numbers=columns)


def _record(file: ModelFile) -> dict[str, Any]:
    config = file.config
    facts = {name: file.facts(name) for name in file.names}
    ternary = {name: fact for name, fact in facts.items() if fact.zeros is not None}
    weights = config.ternary_weights
    layers, shapes = [], {}
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        own = {_part(name): fact for name, fact in ternary.items() if name.startswith(prefix)}
        shapes = {part: fact.shape for part, fact in own.items()}
        zeros = {part: fact.zeros / (fact.shape[0] * fact.shape[1]) for part, fact in own.items()}
        zeros["all"] = sum(fact.zeros for fact in own.values()) * config.num_hidden_layers / weights
        layers.append({"layer": layer, "zeros": zeros, "scales": {part: fact.scale for part, fact in own.items()},
                       "groups": {part: fact.group for part, fact in own.items()}})
    ternary_bytes = sum(fact.nbytes for fact in ternary.values())
    head = facts.get("lm_head.weight")
    return {
        "path": str(file.path), "nbytes": file.nbytes, "architecture": f"BitNet b1.58 with {config.layer}", "config": config.to_dict(), "packing": file.packing,
        "order": None if file.order is None else file.order.to_dict(),
        "embedding": facts["model.embed_tokens.weight"].dtype, "head": None if head is None else head.dtype,
        "tokenizer": file.tokenizer.get("kind"), "training": file.training,
        "sizes": {
            "ternary_weights": weights, "ternary_bytes": ternary_bytes, "bits_per_weight": 8 * ternary_bytes / weights,
            "zero_share": sum(fact.zeros for fact in ternary.values()) / weights,
            "float_weights": config.float_weights, "float_bytes": sum(fact.nbytes for fact in facts.values()) - ternary_bytes,
        },
        "shapes": shapes, "layers": layers, "boards": _boards(file),
    }


def _boards(file: ModelFile) -> list[dict[str, Any]]:
    """What the planner says of each board."""
    from tritloom.boards import boards
    from tritloom.boards.machine import Machine
    from tritloom.boards.plan import plan
    from tritloom.host.model.shape import shape_of_file

    shape = shape_of_file(file)
    found = []
    for board in boards():
        planned = plan(shape, Machine.of(board))
        found.append({
            "name": board.name, "resident": planned.resident_share == 1, "resident_share": planned.resident_share,
            "prefill_tokens_per_s": planned.prefill.tokens_per_s, "decode_tokens_per_s": planned.decode.tokens_per_s, "bound": planned.decode.bound,
        })
    return found


def _order(order: dict[str, int] | None) -> str:
    if order is None:
        return "row by row"
    return f"in the words of arrays of {order['cols']} columns and {order['lanes']} lanes"


def _scales(groups: list[int | None]) -> str:
    """Of a matrix of every layer: how many columns share a scale, None for all."""
    return " or ".join("one" if group is None else f"one for {group} columns of a row" for group in dict.fromkeys(groups))


def _part(name: str) -> str:
    """``q`` of ``model.layers.0.self_attn.q_proj.weight``."""
    return name.split(".")[-2].removesuffix("_proj")
