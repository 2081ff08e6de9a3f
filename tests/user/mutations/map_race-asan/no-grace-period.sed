# A leaf is freed while readers may be in it.
# Caught as: AddressSanitizer
s/call_rcu(&old->rcu, free_leaf_rcu);/free_leaf_rcu(\&old->rcu);/
