# What is given back is not joined to the free extent before it.
# Caught as: free extents that are one|, not \d+ at
s/prev && prev->end == at/prev \&\& 0/
