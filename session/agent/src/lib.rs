//! The protocol between a session and the agent in its guest.
