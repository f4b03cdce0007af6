//! The pretend internet at its seam: a hand-written client talks to its mail servers,
//! a real resolver asks its DNS.

mod client;
mod command;
mod conversation;
mod dns;
mod hangups;
mod hold;
mod limits;
mod patience;
mod peers;
mod returns;
mod scenarios;
mod strict;
mod wordings;
