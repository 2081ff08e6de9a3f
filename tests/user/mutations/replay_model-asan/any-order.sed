# Of changes to one sector any may count, not the last.
# Caught as: block \d+: \d at
/^static bool disjoint/,/^}/s/return false/return true/
