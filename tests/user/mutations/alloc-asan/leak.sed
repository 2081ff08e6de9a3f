# An open that fails keeps what it has allocated.
# Caught as: LeakSanitizer
s/^	kfree(md->info);//
