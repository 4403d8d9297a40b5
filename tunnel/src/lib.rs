//! The user-space data path: TUN to UDP and back.
