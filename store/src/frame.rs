//! A frame: a block of events as it lies in the outbox. Version byte, then zstd over
//! a msgpack array. The service makes it once; a script stores it unread.

use std::cell::RefCell;

use mail::queue::Judgement;
use mail::{Event, Scope};
use zstd::bulk::{Compressor, Decompressor};

use crate::error::StoreError;

/// What every ledger reads.
const FIRST: u8 = 1;
/// As the first, with kinds of events that it did not know.
const KINDS: u8 = 2;
/// As those, with a scope that they did not know: a link domain.
const VERSION: u8 = 3;
/// Events compress well at any level; the lowest is nearly free.
const LEVEL: i32 = 1;
/// A frame that unpacks to more than this was not made by us.
const UNPACKED_MAX: usize = 64 << 20;

thread_local! {
    // Their tables are some hundred KB: to make them costs more than to pack a frame.
    static PACKER: RefCell<Compressor<'static>> =
        RefCell::new(Compressor::new(LEVEL).expect("zstd knows its levels"));
    static UNPACKER: RefCell<Decompressor<'static>> =
        RefCell::new(Decompressor::new().expect("zstd without a dictionary"));
}

/// Events on their way to the outbox.
pub struct Frame;

impl Frame {
    /// The block of some events.
    #[must_use]
    pub fn encode(events: &[Event]) -> Vec<u8> {
        let plain = rmp_serde::to_vec(events).expect("events are plain values");
        let mut frame = vec![events.iter().map(needs).max().unwrap_or(FIRST)];
        let packed = PACKER.with_borrow_mut(|packer| packer.compress(&plain));
        let packed = packed.expect("zstd compresses in memory");
        frame.extend_from_slice(&packed);
        frame
    }

    /// The events of a block.
    ///
    /// # Errors
    /// When it is of a newer version or damaged.
    pub fn decode(frame: &[u8]) -> Result<Vec<Event>, StoreError> {
        let (version, packed) = frame
            .split_first()
            .ok_or_else(|| StoreError::corrupt("a frame of events", "it is empty"))?;
        if !(FIRST..=VERSION).contains(version) {
            return Err(StoreError::Newer { what: "a frame of events".into(), version: *version });
        }
        let plain = UNPACKER
            .with_borrow_mut(|unpacker| unpacker.decompress(packed, UNPACKED_MAX))
            .map_err(|e| StoreError::corrupt("a frame of events", e))?;
        rmp_serde::from_slice(&plain).map_err(|e| StoreError::corrupt("a frame of events", e))
    }
}

/// The version without which an event cannot be read.
fn needs(event: &Event) -> u8 {
    match (event.scope, event.kind.is_first()) {
        (Some(Scope::LinkDomain), _) => VERSION,
        (_, false) => KINDS,
        (_, true) => FIRST,
    }
}

/// An event and what the queue made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// What a service said.
    pub event: Event,
    /// Whether it counts.
    pub judgement: Judgement,
}

#[cfg(test)]
mod tests {
    use mail::Timestamp;
    use mail::event::EventKind;

    use super::*;

    #[test]
    fn a_frame_is_of_the_first_version_that_can_say_it() {
        let event = |kind, scope| Event { scope, ..Event::new(kind, Timestamp(1)) };
        let cases = [
            (EventKind::Deferred, Some(Scope::Message), FIRST),
            (EventKind::Ordered, None, KINDS),
            (EventKind::Deferred, Some(Scope::LinkDomain), VERSION),
        ];
        for (kind, scope, version) in cases {
            let events = [event(EventKind::Delivered, None), event(kind, scope)];
            let frame = Frame::encode(&events);
            assert_eq!(frame[0], version, "{kind} {scope:?}");
            assert_eq!(Frame::decode(&frame).expect("a frame"), events);
        }
    }
}
