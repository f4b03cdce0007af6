//! The one generator of realistic campaigns, for the demo, the tests and the
//! measurements: half of the recipients in five domains, the rest by Zipf's law over
//! 50,000, three merge values each. A recipient is a function of (seed, index).

mod domains;
mod names;
mod template;

use std::io::{self, Write};

pub use domains::{LARGE_DOMAINS, TAIL_DOMAINS, TAIL_RANKS, tail_domain, tail_rank};
pub use template::Template;

use crate::mix::{self, Dice};

/// The names of the merge values, in the order in which they are written.
pub const MERGE_FIELDS: [&str; 3] = ["first_name", "code", "city"];

/// Letters of a voucher code: 32 of them, so that eight letters are 40 random bits.
const CODE_LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// One recipient of a pretend campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// `local@domain`, lower-case ASCII.
    pub address: String,
    /// The merge values by name, in the order of [`MERGE_FIELDS`].
    pub merge: Vec<(&'static str, String)>,
}

/// Recipients 0 to `n` of one seed. Addresses are all different unless asked otherwise.
#[derive(Debug, Clone)]
pub struct Generator {
    seed: u64,
    first: u64,
    n: u64,
    repeats: f64,
    spread: Spread,
    zipf: Zipf,
}

/// Where the recipients live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// As people do: half in five domains, the rest by Zipf's law.
    #[default]
    Real,
    /// All in one domain.
    One,
    /// Each in another one, as far as there are so many.
    Each,
}

use domains::Zipf;

/// The drawn numbers of one recipient, before anything is written.
struct Draw {
    first: usize,
    last: usize,
    city: usize,
    code: u64,
    index: u64,
    place: Place,
}

enum Place {
    Large(usize),
    Tail(u32),
}

impl Generator {
    /// A campaign of `n` recipients.
    #[must_use]
    pub fn new(seed: u64, n: u64) -> Self {
        let (repeats, spread) = (0.0, Spread::Real);
        Self { seed, first: 0, n, repeats, spread, zipf: Zipf::new(TAIL_DOMAINS) }
    }

    /// Lets the recipients live elsewhere.
    #[must_use]
    pub fn with_spread(mut self, spread: Spread) -> Self {
        self.spread = spread;
        self
    }

    /// Makes this share (0 to 1) of the recipients repeat an earlier one's address.
    #[must_use]
    pub fn with_repeats(mut self, share: f64) -> Self {
        self.repeats = share.clamp(0.0, 1.0);
        self
    }

    /// These alone, counted from 0 again: parts of one campaign have no address in common.
    #[must_use]
    pub fn part(&self, indexes: std::ops::Range<u64>) -> Self {
        let first = self.first + indexes.start;
        Self { first, n: indexes.end.saturating_sub(indexes.start), ..self.clone() }
    }

    /// How many recipients there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.n
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The recipient of an index; indexes of `n` and beyond work too.
    #[must_use]
    pub fn recipient(&self, index: u64) -> Recipient {
        let draw = self.draw(index);
        let mut code = Vec::with_capacity(8);
        write_code(draw.code, &mut code);
        let values = [
            names::FIRST[draw.first].to_owned(),
            String::from_utf8_lossy(&code).into_owned(),
            names::CITIES[draw.city].to_owned(),
        ];
        Recipient {
            address: self.address(index),
            merge: MERGE_FIELDS.into_iter().zip(values).collect(),
        }
    }

    /// The address of an index alone.
    #[must_use]
    pub fn address(&self, index: u64) -> String {
        let mut out = Vec::with_capacity(64);
        write_address(&self.draw(index), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// All recipients in order.
    pub fn iter(&self) -> impl Iterator<Item = Recipient> + '_ {
        (0..self.n).map(|index| self.recipient(index))
    }

    /// Writes one NDJSON line, `{"email": …, "merge": {…}}` and a line feed.
    pub fn write_line(&self, index: u64, out: &mut Vec<u8>) {
        let draw = self.draw(index);
        out.extend_from_slice(b"{\"email\":\"");
        write_address(&draw, out);
        out.extend_from_slice(b"\",\"merge\":{\"first_name\":\"");
        out.extend_from_slice(names::FIRST[draw.first].as_bytes());
        out.extend_from_slice(b"\",\"code\":\"");
        write_code(draw.code, out);
        out.extend_from_slice(b"\",\"city\":\"");
        out.extend_from_slice(names::CITIES[draw.city].as_bytes());
        out.extend_from_slice(b"\"}}\n");
    }

    /// Writes the whole campaign as NDJSON, in large pieces.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn write_ndjson(&self, mut out: impl Write) -> io::Result<()> {
        const PIECE_OCTETS: usize = 1 << 18;
        let mut piece = Vec::with_capacity(PIECE_OCTETS + 512);
        for index in 0..self.n {
            self.write_line(index, &mut piece);
            if piece.len() >= PIECE_OCTETS {
                out.write_all(&piece)?;
                piece.clear();
            }
        }
        out.write_all(&piece)?;
        out.flush()
    }

    fn draw(&self, index: u64) -> Draw {
        let index = self.first + index;
        let mut dice = Dice::new(mix::of_number(self.seed, 2, index));
        let repeat =
            self.repeats > 0.0 && index > self.first && mix::share(dice.roll()) < self.repeats;
        if repeat {
            // The earlier one may itself be a repeat: walk down until it is not.
            return self.draw(dice.below(index - self.first));
        }
        let first = dice.below(names::FIRST.len() as u64) as usize;
        let last = dice.below(names::LAST.len() as u64) as usize;
        let city = dice.below(names::CITIES.len() as u64) as usize;
        let code = dice.roll();
        let place = match self.spread {
            Spread::Real if dice.roll() & 1 == 0 => Place::Large(large(dice.below(100))),
            Spread::Real => Place::Tail(self.zipf.rank(dice.roll())),
            Spread::One => Place::Large(0),
            Spread::Each => Place::Tail((index % u64::from(TAIL_RANKS)) as u32),
        };
        Draw { first, last, city, code, index, place }
    }
}

fn large(hundredth: u64) -> usize {
    let mut sum = 0;
    domains::LARGE_SHARES
        .iter()
        .position(|share| {
            sum += share;
            hundredth < sum
        })
        .unwrap_or(0)
}

/// The index that an address was made of.
#[must_use]
pub fn index_of(address: &str) -> Option<u64> {
    let (local, _) = address.rsplit_once('@')?;
    u64::from_str_radix(local.rsplit_once('.')?.1, 36).ok()
}

/// `first.last.index@domain`: the index, in base 36, makes it the only one.
fn write_address(draw: &Draw, out: &mut Vec<u8>) {
    out.extend_from_slice(names::FIRST_PLAIN[draw.first].as_bytes());
    out.push(b'.');
    out.extend_from_slice(names::LAST[draw.last].as_bytes());
    out.push(b'.');
    write_base36(draw.index, out);
    out.push(b'@');
    match draw.place {
        Place::Large(which) => out.extend_from_slice(LARGE_DOMAINS[which].as_bytes()),
        Place::Tail(rank) => domains::write_tail_domain(rank, out),
    }
}

fn write_base36(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 13];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_code(bits: u64, out: &mut Vec<u8>) {
    out.extend((0..8).map(|i| CODE_LETTERS[(bits >> (5 * i)) as usize & 31]));
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn a_recipient_is_a_function_of_seed_and_index() {
        let (a, b) = (Generator::new(7, 100), Generator::new(7, 5));
        assert_eq!(a.recipient(42), b.recipient(42));
        assert_ne!(a.recipient(42), Generator::new(8, 100).recipient(42));
        let line = {
            let mut out = Vec::new();
            a.write_line(42, &mut out);
            serde_json::from_slice::<serde_json::Value>(&out).expect("a JSON line")
        };
        let r = a.recipient(42);
        assert_eq!(line["email"], r.address);
        for (name, value) in &r.merge {
            assert_eq!(line["merge"][name], *value);
        }
    }

    #[test]
    fn half_live_in_five_domains_and_the_rest_follow_zipf() {
        let generator = Generator::new(1, 100_000);
        let mut at: HashMap<String, u32> = HashMap::new();
        let mut seen = HashSet::new();
        for r in generator.iter() {
            let address: mail::Address = r.address.parse().expect("an address");
            assert!(seen.insert(r.address.clone()), "{} twice", r.address);
            *at.entry(address.domain_str().to_owned()).or_default() += 1;
        }
        let large: u32 = LARGE_DOMAINS.iter().map(|d| at[*d]).sum();
        assert!((49_000..51_000).contains(&large), "{large}");
        let first = at[&tail_domain(0)];
        let tenth = at[&tail_domain(9)];
        assert!((3_800..5_200).contains(&first), "{first}");
        assert!((320..580).contains(&tenth), "{tenth}");
        assert!(at.len() > 10_000, "{}", at.len());
    }

    #[test]
    fn tail_domains_read_back_to_their_rank() {
        for rank in [0, 1, 77, 49_999] {
            assert_eq!(tail_rank(&tail_domain(rank)), Some(rank));
        }
        assert_eq!(tail_rank("garage-martin1.fr.example.org"), None);
        assert_eq!(tail_rank("example.org"), None);
    }

    #[test]
    fn parts_of_a_campaign_are_its_recipients_in_order() {
        let whole = Generator::new(5, 30);
        let parts = [whole.part(0..10), whole.part(10..30)];
        let addresses = |g: &Generator| g.iter().map(|r| r.address).collect::<Vec<_>>();
        assert_eq!(parts.iter().flat_map(addresses).collect::<Vec<_>>(), addresses(&whole));
        assert_eq!(parts[1].len(), 20);
    }

    #[test]
    fn each_lives_alone_when_asked_for() {
        let each = Generator::new(1, 60_000).with_spread(Spread::Each);
        let domain = |r: Recipient| r.address.rsplit_once('@').expect("a domain").1.to_owned();
        let domains: HashSet<String> = each.iter().map(domain).collect();
        assert_eq!(domains.len(), 60_000);
        assert!(domains.iter().all(|d| tail_rank(d).is_some()));
    }

    #[test]
    fn repeats_come_only_when_asked_for() {
        let n = 5_000;
        let distinct = |g: Generator| g.iter().map(|r| r.address).collect::<HashSet<_>>().len();
        assert_eq!(distinct(Generator::new(3, n)), 5_000);
        let some = distinct(Generator::new(3, n).with_repeats(0.1));
        assert!((4_400..4_600).contains(&some), "{some}");
    }
}
