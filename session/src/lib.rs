//! VM sessions that survive their shutdown.
