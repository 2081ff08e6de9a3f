"""Many hosts at once, over SSH: who they are, what is copied there, what they answer."""
