//! Twill's only door to the kernel's network.
