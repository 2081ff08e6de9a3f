# Of a record that takes several entries all are the first.
# Caught as: block \d+: \d at
s/main += n, spare += n, len -= n/len -= n/
