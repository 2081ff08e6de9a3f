# What was found is written to, whether it can be made durable or not.
# Caught as: not what was acknowledged
# Seed: 1
s/return !md->certain;/return false;/
