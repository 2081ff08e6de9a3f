# A leaf is freed while readers may be in it.
# Caught as: data race|heap-use-after-free
s/call_rcu(&old->rcu, free_leaf_rcu);/free_leaf_rcu(\&old->rcu);/
