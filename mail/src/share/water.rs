//! Water into vessels: an amount divided by weight among those that want it, nobody more
//! than it can hold, the lowest first. Everything that is fair here comes down to this.

use std::cmp::Ordering;

/// Rounds in which vessels are found full. More happen only with weights and demands all
/// different, and then the rest is handed out one by one.
const ROUNDS: usize = 8;
/// Up to so many are handed out one by one, exactly in the order of their tags.
const FEW: u32 = 8;

/// One vessel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// How high its bottom lies: its start tag.
    pub start: f64,
    /// How wide it is.
    pub weight: f64,
    /// How much it can hold.
    pub most: u32,
}

/// Divides room by weight; `most` of each is how much it wants.
#[must_use]
pub fn parts(room: u32, wants: &[(f64, u32)]) -> Vec<u32> {
    let claims: Vec<Claim> = wants
        .iter()
        .map(|(weight, most)| Claim { start: 0.0, weight: *weight, most: *most })
        .collect();
    deal(&claims, room)
}

/// The order in which claims are served when all are due: by start tag, then as they stand.
pub(super) fn order(claims: &[Claim], given: &[u32]) -> Vec<usize> {
    let tags: Vec<f64> = claims
        .iter()
        .zip(given)
        .map(|(claim, given)| claim.start + f64::from(*given) / claim.weight)
        .collect();
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_by(|a, b| tags[*a].partial_cmp(&tags[*b]).unwrap_or(Ordering::Equal).then(a.cmp(b)));
    order
}

/// How much each gets of an amount that flows freely.
pub(super) fn fill(claims: &[Claim], amount: f64) -> Vec<f64> {
    let all: f64 = claims.iter().map(|c| f64::from(c.most)).sum();
    if all <= amount {
        return claims.iter().map(|c| f64::from(c.most)).collect();
    }
    let order = order(claims, &vec![0; claims.len()]);
    let mut full = vec![false; claims.len()];
    let mut got = vec![0.0; claims.len()];
    let mut left = amount;
    for _ in 0..ROUNDS {
        let Some(level) = level(claims, &order, &full, left) else { break };
        let mut again = false;
        for &i in &order {
            if full[i] {
                continue;
            }
            let claim = &claims[i];
            got[i] = (claim.weight * (level - claim.start)).max(0.0);
            if got[i] >= f64::from(claim.most) {
                got[i] = f64::from(claim.most);
                full[i] = true;
                left -= got[i];
                again = true;
            }
        }
        if !again {
            break;
        }
    }
    got
}

/// How high an amount stands in the vessels that are not full.
fn level(claims: &[Claim], order: &[usize], full: &[bool], amount: f64) -> Option<f64> {
    let (mut width, mut below) = (0.0, 0.0);
    for &i in order {
        let claim = &claims[i];
        if full[i] {
            continue;
        }
        if width > 0.0 && (amount + below) / width <= claim.start {
            break;
        }
        width += claim.weight;
        below += claim.weight * claim.start;
    }
    (width > 0.0).then(|| (amount + below) / width)
}

/// The same in whole messages; none is left while somebody wants it.
pub(super) fn deal(claims: &[Claim], amount: u32) -> Vec<u32> {
    let all: u64 = claims.iter().map(|c| u64::from(c.most)).sum();
    if all <= u64::from(amount) {
        return claims.iter().map(|c| c.most).collect();
    }
    if amount <= FEW {
        return deal_few(claims, amount);
    }
    // A hair is added, for a third three times is a hair less than one.
    let mut given: Vec<u32> = fill(claims, f64::from(amount))
        .iter()
        .zip(claims)
        .map(|(got, claim)| ((got + 1e-9).floor() as u32).min(claim.most))
        .collect();
    let mut left = amount.saturating_sub(given.iter().sum());
    while left > 0 {
        for i in order(claims, &given) {
            if left > 0 && given[i] < claims[i].most {
                given[i] += 1;
                left -= 1;
            }
        }
    }
    given
}

fn deal_few(claims: &[Claim], amount: u32) -> Vec<u32> {
    let mut given = vec![0; claims.len()];
    for _ in 0..amount {
        let mut first: Option<(usize, f64)> = None;
        for (i, claim) in claims.iter().enumerate() {
            let tag = claim.start + f64::from(given[i]) / claim.weight;
            if given[i] < claim.most && first.is_none_or(|(_, lowest)| tag < lowest) {
                first = Some((i, tag));
            }
        }
        let Some((i, _)) = first else { break };
        given[i] += 1;
    }
    given
}
