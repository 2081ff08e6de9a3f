# A load writes what it found, though the places of newer headers could not be read.
# Caught as: not what was acknowledged|refused|could commit
# Seed: 10
s/return all || md->believed ? 0 : -EIO;/return all ? 0 : 0;/
