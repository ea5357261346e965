"""A model's sizes without its weights: from a model file, a checkpoint's configuration, or by a published model's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tritloom.host.errors import CheckpointError, UnknownNameError
from tritloom.host.model.catalogue import MODELS, find_model
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import ModelFile, open_model
from tritloom.host.model.layout import common_group
from tritloom.host.model.placement import fused_shapes
from tritloom.host.model.published import PUBLISHED

__all__ = ["ModelShape", "shape_of", "shape_of_file"]


@dataclass(frozen=True)
class ModelShape:
    """A model as far as its sizes go.

    Parameters
    ----------
    name : str
        What it was called by, or its file's name.
    config : ModelConfig
    groups : tuple of (int or None)
        For each matrix as the runtime loads them, the columns that share a scale; None for one scale. Empty: one scale each.
    """

    name: str
    config: ModelConfig
    groups: tuple[int | None, ...] = ()

    @property
    def matrices(self) -> list[tuple[int, int, int | None]]:
        """``(N, K, group)`` of every matrix as the runtime loads it."""
        shapes = fused_shapes(self.config)
        groups = self.groups or (None,) * len(shapes)
        return [(n, k, group) for (n, k), group in zip(shapes, groups, strict=True)]


def shape_of(model: str) -> ModelShape:
    """The shape of a model.

    Parameters
    ----------
    model : str
        A shipped model's name, a published one's (`tritloom.host.model.published`), a ``*.trit`` file, a Hugging Face folder or its
        ``config.json`` alone, or a ``*.gguf`` file, of which the metadata are read. Without the weights it is not known whether they have scales by
        groups of columns: only of Q1_0 it is taken to be so.

    Raises
    ------
    UnknownNameError
        If it is none of these.
    ModelFileError
        If the model file is missing or damaged.
    CheckpointError
        If the configuration is missing, damaged, or not one that tritloom runs.
    """
    path = Path(model)
    if model in PUBLISHED:
        known = PUBLISHED[model]
        return ModelShape(model, known.config, (known.group,) * len(known.config.jobs()))
    if path.is_dir() or path.suffix == ".json":
        from tritloom.host.formats.hf_config import read_config

        file = path / "config.json" if path.is_dir() else path
        if not file.exists():
            raise CheckpointError(f"there is no {file}, and a checkpoint's config.json is what tells its sizes: download it, or name another")
        return ModelShape(file.parent.resolve().name if file.name == "config.json" else path.stem, read_config(file)[0])
    if path.suffix == ".gguf":
        from tritloom.host.formats import q1
        from tritloom.host.formats.gguf_config import gguf_config
        from tritloom.host.formats.gguf_reader import read_gguf

        if not path.exists():
            raise CheckpointError(f"there is no checkpoint {path}")
        values, stored = read_gguf(path)
        if (embedding := stored.get("token_embd.weight")) is None:
            raise CheckpointError(f"{path} has no tensor 'token_embd.weight', so how large its vocabulary is cannot be told")
        config = gguf_config(path, values, embedding.shape[0], stored)
        coarse = any(tensor.type == q1.NAME for name, tensor in stored.items() if name.startswith("blk."))
        return ModelShape(path.stem, config, tuple(q1.BLOCK if coarse and job[0][2] % q1.BLOCK == 0 else None for job in config.jobs()))
    try:
        found = find_model(model)
    except UnknownNameError:
        shipped = [file.stem for file in MODELS.glob("*.trit")]
        raise UnknownNameError("model", model, [*shipped, *PUBLISHED], hint="A *.trit file, a checkpoint's folder or a config.json will do as well.") from None
    return shape_of_file(open_model(found))


def shape_of_file(file: ModelFile) -> ModelShape:
    """The shape of an open model file."""
    groups = (common_group(job[0][2], [file.group(name) for name, _, _ in job]) for job in file.config.jobs())
    return ModelShape(file.path.stem, file.config, tuple(groups))
