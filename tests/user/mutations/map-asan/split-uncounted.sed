# A leaf split while it is loaded: an extent cut in two is counted once.
# Caught as: of extents
/^static void split_while_loading/,/^}/s/account(map, [a-z]*, -*1);//
