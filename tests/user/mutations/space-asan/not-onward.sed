# Allocation always begins at the same place.
# Caught as: cursor
s/sp->cursor = \*at + n;//
