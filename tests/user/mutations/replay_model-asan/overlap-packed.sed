# Changes that overlap are packed as they come.
# Caught as: an overlap is not seen
/^int dmr_map_fill/,/^}/s/if (start < end)/if (0)/
