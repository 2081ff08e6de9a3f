# A log block of another copy counts as this one's.
# Caught as: good copies 0x
s/block_known(&log->p, LOG_MAGIC) && log->p.copy == copy &&/block_known(\&log->p, LOG_MAGIC) \&\&/
