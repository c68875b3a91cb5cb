"""Turns weights in GGUF into the directory that vLLM serves: `weights_for_vllm.py WEIGHTS.gguf DIRECTORY`."""

import os
import sys
import tempfile
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def convert(weights: Path, directory: Path) -> None:
    """Writes the model in float32 and its tokenizer, whole or not at all."""
    source = {"pretrained_model_name_or_path": weights.parent, "gguf_file": weights.name}
    model = AutoModelForCausalLM.from_pretrained(
        **source, quantization_config=GgufConfig(dequantize=True)
    )
    # The weights are written as numbers: vLLM must not take them for quantized ones.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    with tempfile.TemporaryDirectory(dir=directory.parent) as unfinished:
        written = Path(unfinished, directory.name)
        model.save_pretrained(written)
        AutoTokenizer.from_pretrained(**source).save_pretrained(written)
        os.rename(written, directory)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
