# The worker does not wait for bios that are just being mapped.
# Caught as: I/O to
/^void dmr_hold_acquire/,/^}/s/synchronize_rcu_expedited();//
