# The new epoch begins before the ranges are held.
# Caught as: I/O to
/^void dmr_hold_acquire/,/^}/{
/smp_store_release(&h->epoch, !old);/d
s/smp_store_release(&h->set, .*/smp_store_release(\&h->epoch, !old);\n	&/
}
