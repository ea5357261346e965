"""Published ternary and 1-bit models by their sizes, to plan with before anything is downloaded.

None of their files could be had here. Where the sizes are from stands in ``docs/models.md``, and what there is not certain is said there.
"""

from __future__ import annotations

from dataclasses import dataclass

from tritloom.host.model.config import ModelConfig

__all__ = ["PUBLISHED", "Published"]


@dataclass(frozen=True)
class Published:
    """A published model.

    Parameters
    ----------
    source : str
        On the Hugging Face hub.
    config : ModelConfig
        Its sizes and options.
    group : int or None
        Columns that share a scale; None if a matrix has one.
    """

    source: str
    config: ModelConfig
    group: int | None = None


def _sizes(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, head_dim: int, vocab: int, context: int, **others: object) -> ModelConfig:
    return ModelConfig(hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
                       head_dim=head_dim, vocab_size=vocab, max_position_embeddings=context, **others)


def _llama(*sizes: int, **others: object) -> ModelConfig:
    return _sizes(*sizes, hidden_act="silu", sub_norms=False, tie_word_embeddings=False, **others)


def _falcon3(*sizes: int) -> ModelConfig:
    return _llama(*sizes, rope_theta=1000042.0)


def _bonsai(*sizes: int, tied: bool) -> ModelConfig:
    return _sizes(*sizes, hidden_act="silu", sub_norms=False, qk_norm=True, rope_theta=1e6, rms_norm_eps=1e-6, tie_word_embeddings=tied)


PUBLISHED = {
    "2b-4t": Published("microsoft/bitnet-b1.58-2B-4T", _sizes(2560, 6912, 30, 20, 5, 128, 128256, 4096, rope_theta=500000.0)),
    "1bitllm-large": Published("1bitLLM/bitnet_b1_58-large", _sizes(1536, 4096, 24, 16, 16, 96, 32002, 2048, hidden_act="silu")),
    "1bitllm-xl": Published("1bitLLM/bitnet_b1_58-xl", _sizes(2048, 5460, 24, 32, 32, 64, 32002, 2048, hidden_act="silu")),
    "1bitllm-3b": Published("1bitLLM/bitnet_b1_58-3B", _sizes(3200, 8640, 26, 32, 32, 100, 32002, 2048, hidden_act="silu")),
    "llama3-8b": Published("HF1BitLLM/Llama3-8B-1.58-100B-tokens", _llama(4096, 14336, 32, 32, 8, 128, 128256, 8192, rope_theta=500000.0)),
    "falcon3-1b": Published("tiiuae/Falcon3-1B-Instruct-1.58bit", _falcon3(2048, 8192, 18, 8, 4, 256, 131072, 8192)),
    "falcon3-3b": Published("tiiuae/Falcon3-3B-Instruct-1.58bit", _falcon3(3072, 9216, 22, 12, 4, 256, 131072, 32768)),
    "falcon3-7b": Published("tiiuae/Falcon3-7B-Instruct-1.58bit", _falcon3(3072, 23040, 28, 12, 4, 256, 131080, 32768)),
    "falcon3-10b": Published("tiiuae/Falcon3-10B-Instruct-1.58bit", _falcon3(3072, 23040, 40, 12, 4, 256, 131072, 32768)),
    "bonsai-1.7b": Published("prism-ml/Bonsai-1.7B-gguf", _bonsai(2048, 6144, 28, 16, 8, 128, 151669, 32768, tied=True), group=128),
    "bonsai-4b": Published("prism-ml/Bonsai-4B-gguf", _bonsai(2560, 9728, 36, 32, 8, 128, 151669, 32768, tied=True), group=128),
    "bonsai-8b": Published("prism-ml/Bonsai-8B-gguf", _bonsai(4096, 12288, 36, 32, 8, 128, 151669, 65536, tied=False), group=128),
    "trilm-99m": Published("SpectraSuite/TriLM_99M_Unpacked", _llama(512, 1280, 16, 8, 8, 64, 50304, 2048)),
    "trilm-3.9b": Published("SpectraSuite/TriLM_3.9B_Unpacked", _llama(3072, 9216, 30, 24, 24, 128, 50688, 2048)),
}
"""By the name that a command takes."""
