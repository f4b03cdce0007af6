//! Quantities as people write them: 2M a day, 300k/h, 60KB.

use std::str::FromStr;

/// A count: `1500`, `300k`, `2M`, `1.5M`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Count(pub(super) f64);

/// So many an hour: `300k/h`, `5000/min`, `100/s`, `2M/d`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PerHour(pub(super) f64);

/// Octets: `60KB`, `1.5MB`, `60000`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Octets(pub(super) f64);

/// Nobody sends more in a day.
const COUNT_MAX: f64 = 1e11;

/// A number and what stands behind it.
fn parted(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, &text[end..]))
}

fn thousands(word: &str) -> Option<f64> {
    match word {
        "" => Some(1.0),
        "k" | "K" => Some(1e3),
        "m" | "M" => Some(1e6),
        "g" | "G" => Some(1e9),
        _ => None,
    }
}

fn within(n: f64) -> Option<f64> {
    (n > 0.0 && n <= COUNT_MAX).then_some(n)
}

impl FromStr for Count {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let read = parted(text).and_then(|(n, unit)| within(n * thousands(unit)?));
        read.map(Self).ok_or_else(|| format!("{text:?} is no count: write 1500, 300k or 2M"))
    }
}

impl FromStr for PerHour {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no rate: write 300k/h, 5000/min, 100/s or 2M/d");
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let hours = match unit.trim() {
            "s" | "sec" | "second" => 1.0 / 3600.0,
            "min" | "minute" => 1.0 / 60.0,
            "h" | "hour" => 1.0,
            "d" | "day" => 24.0,
            _ => return Err(wrong()),
        };
        let Count(count) = count.parse().map_err(|_| wrong())?;
        Ok(Self(count / hours))
    }
}

impl FromStr for Octets {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (n, unit) = parted(text)?;
            let unit = unit.trim().to_ascii_uppercase();
            let size = thousands(unit.strip_suffix('B').unwrap_or(&unit))?;
            within(n * size).filter(|octets| *octets <= 100e6)
        };
        read()
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size: write 60KB or 1.5MB, 100MB at most"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_people_write_them() {
        assert_eq!("2M".parse(), Ok(Count(2e6)));
        assert_eq!("1.5k".parse(), Ok(Count(1500.0)));
        assert_eq!("300k/h".parse(), Ok(PerHour(300_000.0)));
        assert_eq!("100/s".parse(), Ok(PerHour(360_000.0)));
        assert_eq!("60KB".parse(), Ok(Octets(60_000.0)));
        assert_eq!("1.5 MB".parse(), Ok(Octets(1.5e6)));
        for wrong in ["", "M", "-1", "2Q", "0", "1e99", "9999999999999"] {
            let refused = wrong.parse::<Count>().expect_err("refused");
            assert!(refused.contains(&format!("{wrong:?}")), "{refused}");
        }
        assert!("300k".parse::<PerHour>().is_err() && "3/w".parse::<PerHour>().is_err());
        assert!("2GB".parse::<Octets>().is_err());
    }
}
