# The shadow keeps what was denied.
# Caught as: with one header left: not what was acknowledged
s/shadow = md->copies == 1 && !md->shadow_ok;/shadow = false;/
s/(md->copies > 1 || md->shadow_ok)/true/
