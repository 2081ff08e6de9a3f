# A leaf that is full is given more.
# Caught as: AddressSanitizer|entries in a leaf|out of bounds
s/nr + 2 > DMR_LEAF_ENTRIES/nr > DMR_LEAF_ENTRIES/
