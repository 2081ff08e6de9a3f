# A load writes what it found, though the places of newer headers could not be read.
# Caught as: not what was acknowledged|refused|could commit
# Seed: 20
s/return all || md->believed ? 0 : -ENODATA;/return all ? 0 : 0;/
