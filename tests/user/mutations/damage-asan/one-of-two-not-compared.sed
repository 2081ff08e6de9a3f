# Of the copies read ahead only every second is compared.
# Caught as: good copies 0x
s/next = min(copy + 1u, md->copies - 1);/next = copy;/
