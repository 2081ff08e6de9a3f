"""Devices that come up by themselves: /etc/dmremaptab, and what it takes to follow it."""
