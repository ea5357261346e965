"""From a checkpoint of any known format to a model file, one tensor in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError
from tritloom.host.formats.source import Source
from tritloom.host.model.file_writer import Tensor, write_model
from tritloom.host.model.floats import FloatTensor
from tritloom.host.trits import TWO_BIT, Ternary
from tritloom.host.words import ArrayOrder

__all__ = ["convert", "open_source"]


def open_source(path: Path, *, quantize: str | None = None, tokenizer: Path | None = None, i2s_layout: str | None = None) -> Source:
    """Open a checkpoint, whatever its format.

    Parameters
    ----------
    path
        A Hugging Face folder or a ``*.gguf`` file.
    quantize
        ``"absmean"`` to quantise float matrices of which nothing says that they are to be.
    tokenizer
        A ``tokenizer.json`` to use in place of the checkpoint's own.
    i2s_layout
        ``"x86"`` or ``"arm"``: in which order I2_S tensors of a GGUF lie.

    Raises
    ------
    UnsupportedCheckpointError
        When the format, architecture or an option is not one that tritloom knows.
    CheckpointError
        When it is missing, damaged or does not fit together.
    """
    if path.is_dir():
        from tritloom.host.formats.safetensors_dir import SafetensorsDir

        if i2s_layout is not None:
            raise UnsupportedCheckpointError(f"--i2s-layout is for GGUF files, and {path} is a folder: leave it out")
        return SafetensorsDir(path, quantize, tokenizer)
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint {path}")
    if path.suffix == ".gguf" or _begins_with(path, b"GGUF"):
        from tritloom.host.formats.gguf_file import GgufFile

        return GgufFile(path, quantize, tokenizer, i2s_layout)
    raise UnsupportedCheckpointError(f"{path} is no checkpoint that tritloom knows: give a Hugging Face folder or a *.gguf file")


def convert(
    source: Source,
    path: Path,
    packing: str = TWO_BIT.name,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    order: ArrayOrder | None = None,
    int8_embedding: bool = False,
) -> None:
    """Write a checkpoint as a model file, which is there whole or not at all.

    Parameters
    ----------
    source
        The checkpoint.
    path
        ``*.trit``.
    packing
        ``"2bit"`` or ``"base3"``.
    progress
        Called before each tensor with how many are done, how many there are, and its name.
    order
        Write the matrices in the words that arrays of this order read; ``None`` for row by row.
    int8_embedding
        Quantise embedding and head to int8, every row by its absolute maximum: lossy. Otherwise they keep the checkpoint's type.

    Raises
    ------
    CheckpointError
        When a tensor cannot be read.
    ModelFileError
        When the file cannot be written.
    """
    tensors = _Tensors(source, progress, int8_embedding)
    write_model(path, config=source.config, tokenizer=source.tokenizer, tensors=tensors, training=source.facts, packing=packing, order=order)


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


class _Tensors(Mapping[str, Tensor]):
    """A source's tensors as the writer wants them: made when asked for."""

    def __init__(self, source: Source, progress: Callable[[int, int, str], None] | None, int8_embedding: bool) -> None:
        self._source = source
        self._int8_embedding = int8_embedding
        self._names = source.names
        self._progress = progress
        self._done = 0

    def __getitem__(self, name: str) -> Tensor:
        if self._progress is not None:
            self._progress(self._done, len(self._names), name)
        self._done += 1
        tensor = self._source.tensor(name)
        if self._int8_embedding and not isinstance(tensor, Ternary) and len(tensor.shape) == 2:
            return (tensor if isinstance(tensor, FloatTensor) else FloatTensor(tensor)).to_int8()
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
