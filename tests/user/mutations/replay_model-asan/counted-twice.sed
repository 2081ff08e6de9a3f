# An extent that continues over the border of a leaf counts as two.
# Caught as: could be one
s/if (more \&\& dmr_entry_len/if (more \&\& leaf->nr < DMR_PACKED_ENTRIES \&\& dmr_entry_len/
