"""The engine: segments of members, trained on workers in any order, as fused populations where that keeps every bit."""

# What the process imports from which workers fork: of PyTorch also what each would import in its first epoch.
PRELOAD = ("src.engine.worker", "torch.fx.experimental.symbolic_shapes")
