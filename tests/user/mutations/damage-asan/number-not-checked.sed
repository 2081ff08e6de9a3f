# A log block of another copy counts as this one's.
# Caught as: good copies 0x
s/dmr_md_block_known(&log->p, LOG_MAGIC) && log->p.copy == copy &&/dmr_md_block_known(\&log->p, LOG_MAGIC) \&\&/
