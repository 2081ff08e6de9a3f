# A segment that could not be allocated is written all the same.
# Caught as: refused|another state
/if (alloc_segment(md, i, &at))/{n;s/-ENOSPC/0/}
