"""Populations: members that train in lock-step as one computation.

Importing it fixes the arithmetic of this process, before the first product is computed.
"""

import os

# Intel MKL may sum in an order that depends on where a matrix starts in memory: a member's bits would show its slot.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")
