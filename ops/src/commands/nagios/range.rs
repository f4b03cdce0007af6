//! Ranges of thresholds, as the Monitoring Plugins Development Guidelines write them ("Threshold and
//! Ranges"): an alert is raised outside of a range, or with `@` inside.

use std::fmt;
use std::str::FromStr;

/// A range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    text: String,
    from: f64,
    to: f64,
    inside: bool,
}

impl Range {
    /// Whether a value raises the alert.
    pub(super) fn alerts(&self, value: f64) -> bool {
        let is_inside = value >= self.from && value <= self.to;
        is_inside == self.inside
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let why = || {
            "is no range: write 10 (alert above), 10: (below), 10:20 (outside), @10:20 (inside), ~:10"
                .to_owned()
        };
        let (inside, bare) = match text.strip_prefix('@') {
            Some(bare) => (true, bare),
            None => (false, text),
        };
        if bare.is_empty() {
            return Err(why());
        }
        let (from, to) = bare.split_once(':').unwrap_or(("0", bare));
        let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
        let from = if from == "~" { Some(f64::NEG_INFINITY) } else { number(from) };
        let to = if to.is_empty() { Some(f64::INFINITY) } else { number(to) };
        let (from, to) = from.zip(to).filter(|(from, to)| from <= to).ok_or_else(why)?;
        Ok(Self { text: text.to_owned(), from, to, inside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the guidelines.
    #[test]
    fn ranges_are_read_as_the_guidelines_have_them() {
        let cases: [(&str, &[f64], &[f64]); 5] = [
            ("10", &[-1.0, 10.5], &[0.0, 10.0]),
            ("10:", &[9.0, -5.0], &[10.0, 1e9]),
            ("~:10", &[10.5], &[-1e9, 10.0]),
            ("10:20", &[9.9, 20.1], &[10.0, 20.0]),
            ("@10:20", &[10.0, 20.0], &[9.9, 20.1]),
        ];
        for (text, alerts, quiet) in cases {
            let range: Range = text.parse().unwrap();
            assert!(alerts.iter().all(|value| range.alerts(*value)), "{text}");
            assert!(!quiet.iter().any(|value| range.alerts(*value)), "{text}");
            assert_eq!(range.to_string(), text);
        }
        for wrong in ["", ":", "a", "20:10", "10:b", "@", "1:2:3", "inf"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong:?}");
        }
    }
}
