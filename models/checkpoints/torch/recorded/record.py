"""Writes voice.pt beside this file: a voice as NVIDIA's code saves it, of a model of width 4.

pip install "torch<2.10" numpy && python models/checkpoints/torch/recorded/record.py
"""

from pathlib import Path

import torch

rows = torch.arange(12, dtype=torch.float32).reshape(3, 1, 1, 4) / 8
cache = torch.arange(17 * 4, dtype=torch.int64).reshape(1, 17, 4)
torch.save(
    {"embeddings": rows.to(torch.bfloat16), "cache": cache},
    Path(__file__).with_name("voice.pt"),
)
