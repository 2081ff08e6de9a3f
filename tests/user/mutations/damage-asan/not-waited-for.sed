# What is still being read is taken for read.
# Caught as: refused|can't be made|good copies 0x
/^const void \*dmr_readahead_data/,/^}/s/wait_for_completion_io(&p->read);//
