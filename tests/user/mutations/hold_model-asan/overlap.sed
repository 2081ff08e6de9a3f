# A range may begin inside the one before it.
# Caught as: add \d+
s/(i && held->range\[i - 1\].end > start) ||//
