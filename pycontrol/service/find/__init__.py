"""Noticing: the disks there are, their health, and reading one whole for latent damage."""
