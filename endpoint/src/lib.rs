//! Joins one container to its host's subnet.
