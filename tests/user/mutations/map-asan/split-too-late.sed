# A leaf with room for one entry is given two.
# Caught as: AddressSanitizer|entries in a leaf|out of bounds
s/nr + 2 > DMR_LEAF_ENTRIES/nr + 1 > DMR_LEAF_ENTRIES/
