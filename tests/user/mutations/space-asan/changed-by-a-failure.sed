# An extent is cut although there is no memory for its other half.
# Caught as: should be free|not as it should be|, not
/int r = insert(sp, at + len, end);/a x->end = at;
