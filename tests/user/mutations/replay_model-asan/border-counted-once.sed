# An extent that goes on in the next leaf is one in the counts, until it goes.
# Caught as: are left
/^int dmr_map_fill/,/^}/s/more = false;//
