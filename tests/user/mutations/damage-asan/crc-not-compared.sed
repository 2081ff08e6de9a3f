# Copies of a log block are the same whatever their CRCs.
# Caught as: good copies 0x
/^static bool same_prefix/,/^}/s/le32_to_cpu(b->crc) == crc &&/(le32_to_cpu(b->crc) == crc || true) \&\&/
