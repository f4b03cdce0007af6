//! What is decided, on files and on what is generated.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod classify;
mod plain;
mod provider;
mod returned;
mod returned_bounded;
mod tlsrpt;
