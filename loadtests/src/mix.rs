//! Chance that can be repeated: a hash and a small generator, both fixed for ever.
//! Everything "random" in the pretend internet is a function of a seed and a name.

/// Spreads the bits of a number (the finaliser of SplitMix64).
#[must_use]
pub(crate) const fn spread(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number made from a seed, a purpose and a text. Two purposes give independent numbers.
#[must_use]
pub(crate) fn of_text(seed: u64, purpose: u64, text: &str) -> u64 {
    spread(mail::id::domain_hash(text) ^ spread(seed ^ spread(purpose)))
}

/// A number made from a seed, a purpose and a number.
#[must_use]
pub(crate) const fn of_number(seed: u64, purpose: u64, number: u64) -> u64 {
    spread(spread(number) ^ spread(seed ^ spread(purpose)))
}

/// A hash as a share of one: at least 0 and less than 1.
#[must_use]
pub(crate) fn share(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64: enough for test data, and the same on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        spread(self.0)
    }

    /// At least 0 and less than `n` (which must not be 0).
    pub(crate) const fn below(&mut self, n: u64) -> u64 {
        ((self.roll() as u128 * n as u128) >> 64) as u64
    }
}

/// Octets that no text looks like, and that compress to nothing smaller; always the same.
#[must_use]
pub fn noise(octets: usize) -> Vec<u8> {
    let mut dice = Dice::new(1);
    (0..octets).map(|_| dice.roll() as u8).collect()
}
