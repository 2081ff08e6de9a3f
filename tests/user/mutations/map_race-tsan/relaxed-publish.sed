# A leaf is published by a store that orders nothing.
# Caught as: data race
s/rcu_assign_pointer(dir->slot\[s\].leaf, new);/WRITE_ONCE(dir->slot[s].leaf, new);/
