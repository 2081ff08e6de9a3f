# A piece that could not be read is taken for read.
# Caught as: refused, with bad sectors
s/return p->bio.bi_status ? NULL :/return 0 ? NULL :/
