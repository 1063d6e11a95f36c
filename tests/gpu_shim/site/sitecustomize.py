"""Python runs this when it starts. With the counting CUDA runtime preloaded, every process of a test is made ready."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "support"))
import gpu_shim

if gpu_shim.library() is not None:
    gpu_shim.install()
