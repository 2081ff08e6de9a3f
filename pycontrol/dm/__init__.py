"""The boundary: device-mapper's ioctls, typed.  Nothing here knows our target."""
