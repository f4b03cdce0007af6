//! A message as it is sent: octets of its own, and between them the files that all messages of
//! its campaign share. However large the files are, a message costs its own octets.

use crate::shared::Shared;

/// A message, to be used again for the next one.
#[derive(Debug, Default)]
pub struct Message {
    pub(crate) own: Vec<u8>,
    /// What comes after so many of its own octets, in this order.
    pub(crate) shared: Vec<(usize, Shared)>,
}

impl Message {
    /// An empty one with room for so many octets of its own.
    #[must_use]
    pub fn with_capacity(octets: usize) -> Self {
        Self { own: Vec::with_capacity(octets), shared: Vec::new() }
    }

    /// Empties it; its room stays, what it shares is let go.
    pub fn clear(&mut self) {
        self.own.clear();
        self.shared.clear();
    }

    /// How long it is, in octets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces().len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its pieces.
    #[must_use]
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces { own: &self.own, shared: &self.shared }
    }

    /// All of it in one piece: a copy, for tests and for whoever keeps a message.
    #[must_use]
    pub fn joined(&self) -> Vec<u8> {
        self.pieces().iter().flat_map(Piece::octets).copied().collect()
    }

    /// Puts octets in front of all.
    pub(crate) fn prepend(&mut self, octets: Vec<u8>) {
        for (at, _) in &mut self.shared {
            *at += octets.len();
        }
        self.own.splice(0..0, octets);
    }
}

impl From<Vec<u8>> for Message {
    fn from(own: Vec<u8>) -> Self {
        Self { own, shared: Vec::new() }
    }
}

/// A message's pieces, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Pieces<'a> {
    own: &'a [u8],
    shared: &'a [(usize, Shared)],
}

/// A piece of a message.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// Octets of its own; nothing is known of them.
    Own(&'a [u8]),
    /// Octets that were proved clean when they were made.
    Shared(&'a Shared),
}

impl<'a> Pieces<'a> {
    /// How long they are together, in octets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.own.len() + self.shared.iter().map(|(_, shared)| shared.octets().len()).sum::<usize>()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each of them in its order; where nothing is shared, one, even if it is empty.
    pub fn iter(&self) -> impl Iterator<Item = Piece<'a>> + use<'a> {
        let (own, shared) = (self.own, self.shared);
        let mut from = 0;
        let between = shared.iter().flat_map(move |(at, shared)| {
            let before = &own[from..*at];
            from = *at;
            [(!before.is_empty()).then_some(Piece::Own(before)), Some(Piece::Shared(shared))]
        });
        let after = &own[shared.last().map_or(0, |(at, _)| *at)..];
        let last = (!after.is_empty() || shared.is_empty()).then_some(Piece::Own(after));
        between.chain([last]).flatten()
    }

    /// Those after the first `octets` of its own, which must lie before anything that is shared.
    pub(crate) fn after(&self, octets: usize) -> impl Iterator<Item = Piece<'a>> + use<'a> {
        let mut skip = octets;
        self.iter().map(move |piece| match piece {
            Piece::Own(own) => Piece::Own(&own[std::mem::take(&mut skip).min(own.len())..]),
            shared @ Piece::Shared(_) => shared,
        })
    }
}

impl<'a> Piece<'a> {
    /// Its octets.
    #[must_use]
    pub fn octets(self) -> &'a [u8] {
        match self {
            Self::Own(octets) => octets,
            Self::Shared(shared) => shared.octets(),
        }
    }
}

impl<'a> From<&'a Message> for Pieces<'a> {
    fn from(message: &'a Message) -> Self {
        message.pieces()
    }
}

impl<'a> From<&'a [u8]> for Pieces<'a> {
    fn from(own: &'a [u8]) -> Self {
        Self { own, shared: &[] }
    }
}

impl<'a> From<&'a Vec<u8>> for Pieces<'a> {
    fn from(own: &'a Vec<u8>) -> Self {
        own.as_slice().into()
    }
}
