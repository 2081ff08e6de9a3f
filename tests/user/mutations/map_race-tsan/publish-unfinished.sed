# A leaf is published before its entries are in it.
# Caught as: data race|was never|length 0
/rcu_assign_pointer(dir->slot\[s\].leaf, new);/d
/bool placed = kind == DMR_LINEAR;/a rcu_assign_pointer(dir->slot[s].leaf, new);
