# A directory that readers may be in becomes the one for the next split.
# Caught as: data race|heap-use-after-free
/^static void split_leaf/,/^}/s/wait_for_readers(map);//
