"""Code that runs inside the virtual machine."""
