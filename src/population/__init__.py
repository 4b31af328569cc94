"""The fused engine. Importing it fixes the arithmetic of this process, before the first product is computed."""

import os

# Intel MKL may sum in an order that depends on where a matrix starts in memory: a member's bits would show its slot.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

# What the process imports from which workers fork: of PyTorch also what each would import in its first epoch.
PRELOAD = ["src.population.worker", "torch.fx.experimental.symbolic_shapes"]
