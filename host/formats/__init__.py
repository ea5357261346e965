"""Checkpoints of other programs, read exactly: one module a format, all of them giving a `Source` of trits, scales and floats.

Their libraries (safetensors, gguf, tokenizers) are the extra ``formats`` and are imported where they are used.
"""
