# The sectors that a change replaces stay in the counts.
# Caught as: counts \d+ and \d+ of
s/account(map, old, -1);//
