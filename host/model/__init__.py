"""Language models on the host: file format, tokenizer, runtime, sampling, scoring."""

from tritloom.host.model.catalogue import ModelInfo, list_models
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.evaluate import Evaluation, evaluate
from tritloom.host.model.generation import Generation
from tritloom.host.model.model import Model
from tritloom.host.model.runtime import Session
from tritloom.host.model.sampling import Sampler

__all__ = ["Evaluation", "Generation", "Model", "ModelConfig", "ModelInfo", "Sampler", "Session", "evaluate", "list_models"]
