# A leaf is published by a plain store.
# Caught as: data race
s/rcu_assign_pointer(dir->slot\[s\].leaf, new);/dir->slot[s].leaf = new;/
