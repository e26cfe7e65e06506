//! Peers whose functions lie.
