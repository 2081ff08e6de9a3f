# A bad sector costs all that was to be read with it.
# Caught as: refused, with bad sectors
s/return data ?: dm_bufio_read(/return md->stream ? data ?: ERR_PTR(-EIO) : dm_bufio_read(/
