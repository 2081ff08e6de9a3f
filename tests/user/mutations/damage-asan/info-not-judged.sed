# A copy without its info block is a good one.
# Caught as: good copies 0x
s/md->info_ok = newest_in;/md->info_ok = newest_in; newest_in = all_copies(md);/
