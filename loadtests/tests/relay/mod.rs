//! A relay, a real Redis and the pretend internet, without the API in front: what was
//! queued arrives or is held, and the queue's accounts agree with the internet's book.

mod attachments;
mod broken_peers;
mod dane;
mod dane_names;
mod flow;
mod holds;
mod hops_tls;
mod ipv6;
mod load;
mod orders;
mod paces;
mod providers;
mod quotas;
mod refusals;
mod require_tls;
mod server;
mod smart_hosts;
mod sources;
mod support;
mod tls;
mod tls_reports;
mod told_tls;
mod unreadable;
mod utf8;
mod web;
mod windows;
