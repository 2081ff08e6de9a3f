# The next ranges are written where readers may still look at the last ones.
# Caught as: data race
s/h->filling = !h->filling;//
