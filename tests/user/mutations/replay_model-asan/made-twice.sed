# Changes that were made for lack of room are kept.
# Caught as: AddressSanitizer
/error = r->nr ? make_changes(r, &all) : -ENOMEM;/{n;s/r->nr = 0;//}
