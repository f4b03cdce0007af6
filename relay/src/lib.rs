//! relay
pub mod smtp;
