# What frees sectors overlaps with nothing: a remap that was freed later comes back.
# Caught as: block \d+: \d at
/^int dmr_map_fill/,/^}/s/^\t\tend = dmr_entry_end/\t\tif (dmr_entry_kind(\&next) != DMR_LINEAR)\n\t\t\tend = dmr_entry_end/
