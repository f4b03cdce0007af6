//! The console over a platform of paper: what it lets in, what it shows, what it sends.

mod doors;
mod live;
mod pages;
mod paper;
