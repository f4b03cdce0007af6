//! The console over a platform of paper: what it lets in, what it shows, what it sends.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod browser;
mod doors;
mod live;
mod pages;
mod paper;
