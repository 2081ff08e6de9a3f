# Extents become one however long it gets.
# Caught as: block \d+
/^int dmr_map_fill/,/^}/s/if (more \&\& dmr_entry_len.*{$/if (more) {/
