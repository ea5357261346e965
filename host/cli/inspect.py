"""`tritloom inspect`: what is in a model file, and which boards hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tritloom.host.cli.options import json_option
from tritloom.host.cli.output import print_json, show_table

if TYPE_CHECKING:
    from tritloom.host.model.file import ModelFile

__all__ = ["inspect"]


@click.command()
@click.argument("name", metavar="MODEL")
@json_option
def inspect(name: str, as_json: bool) -> None:
    """Show what is in a model and which boards hold it.

    MODEL is a shipped model or a *.trit file. All of it is read, and its checksums are verified.
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
        ["architecture", "BitNet b1.58 with sub-norms, squared ReLU"],
        ["layers, hidden, feed-forward", f"{config['num_hidden_layers']}, {config['hidden_size']:,}, {config['intermediate_size']:,}"],
        ["heads, key/value heads, width", f"{config['num_attention_heads']}, {config['num_key_value_heads']}, {config['head_dim']}"],
        ["vocabulary, context", f"{config['vocab_size']:,}, {config['max_position_embeddings']:,}"],
        ["RoPE theta, norms' epsilon", f"{config['rope_theta']:g}, {config['rms_norm_eps']:g}"],
        ["head", "the embedding" if config["tie_word_embeddings"] else "a matrix of its own"],
        ["tokenizer", str(record["tokenizer"])],
        ["ternary weights", f"{sizes['ternary_weights']:,} in {sizes['ternary_bytes']:,} bytes ({record['packing']}, {sizes['bits_per_weight']:.3f} bits a weight), {sizes['zero_share']:.1%} are 0"],
        ["other weights", f"{sizes['float_weights']:,} in {sizes['float_bytes']:,} bytes"],
    ])
    shares = ["q", "k", "v", "o", "gate", "up", "down", "all"]
    show_table(["layer", *shares], [[str(row["layer"]), *(f"{row['zeros'][part]:.1%}" for part in shares)] for row in record["layers"]],
               caption="share of weights that are 0, by matrix", numbers=shares)
    show_table(["matrix", "outputs", "inputs"], [[part, f"{n:,}", f"{k:,}"] for part, (n, k) in record["shapes"].items()],
               caption="of each layer", numbers=["outputs", "inputs"])
    show_table(["board", "holds", "of the weights"], [
        [board["name"], "all" if board["resident"] else "part", f"{board['resident_share']:.1%}"] for board in record["boards"]
    ], caption="what is not held is streamed to the board for every token", numbers=["of the weights"])


def _record(file: ModelFile) -> dict[str, Any]:
    from tritloom.boards import boards
    from tritloom.host.model.placement import resident_weights

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
        layers.append({"layer": layer, "zeros": zeros, "scales": {part: fact.scale for part, fact in own.items()}})
    ternary_bytes = sum(fact.nbytes for fact in ternary.values())
    held = {board.name: resident_weights(config, board.geometry) for board in boards()}
    return {
        "path": str(file.path), "nbytes": file.nbytes, "config": config.to_dict(), "packing": file.packing,
        "tokenizer": file.tokenizer.get("kind"), "training": file.training,
        "sizes": {
            "ternary_weights": weights, "ternary_bytes": ternary_bytes, "bits_per_weight": 8 * ternary_bytes / weights,
            "zero_share": sum(fact.zeros for fact in ternary.values()) / weights,
            "float_weights": config.float_weights, "float_bytes": sum(fact.nbytes for fact in facts.values()) - ternary_bytes,
        },
        "shapes": shapes, "layers": layers,
        "boards": [{"name": name, "resident": resident == weights, "resident_share": resident / weights} for name, resident in held.items()],
    }


def _part(name: str) -> str:
    """``q`` of ``model.layers.0.self_attn.q_proj.weight``."""
    return name.split(".")[-2].removesuffix("_proj")
