"""What dm-remap-v4 costs, measured in a machine that counts instructions; ``ci/bench`` runs it.

docs/performance.md says what is measured and what came of it.  Sizes of requests are bytes,
places and lengths of extents sectors of 512.
"""
