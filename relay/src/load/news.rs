//! When a change of the budget is worth a word: when a quarter is gone, and when all is there again.

/// What it has to fall by.
const STEP: f64 = 0.25;

pub(super) struct News {
    /// What the next fall is compared with.
    from: f64,
    /// It was told that something is gone.
    told: bool,
}

impl Default for News {
    fn default() -> Self {
        Self { from: 1.0, told: false }
    }
}

impl News {
    /// The words for a level, if there is something to say.
    pub(super) fn of(&mut self, level: f64, causes: &[String]) -> Option<String> {
        if level <= self.from - STEP {
            (self.from, self.told) = (level, true);
            return Some(words(level, causes));
        }
        self.from = self.from.max(level - STEP / 2.0);
        if level < 1.0 {
            return None;
        }
        self.from = 1.0;
        std::mem::take(&mut self.told).then(|| words(level, causes))
    }
}

/// As it stands in logs, in history and in lists.
fn words(level: f64, causes: &[String]) -> String {
    let percent = (level * 100.0).round();
    match causes {
        [] => format!("budget {percent} %"),
        causes => format!("budget {percent} %: {}", causes.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_that_is_gone_is_told_and_the_return_of_all() {
        let mut news = News::default();
        let mut of = |level| news.of(level, &["event loop 84 ms late at p99 (over 50)".into()]);
        assert_eq!(of(0.8), None);
        let told = of(0.62).expect("more than a quarter");
        assert_eq!(told, "budget 62 %: event loop 84 ms late at p99 (over 50)");
        assert_eq!((of(0.5), of(0.6), of(0.4)), (None, None, None));
        assert!(of(0.3).is_some(), "another quarter");
        assert_eq!(of(0.9), None);
        assert!(of(0.5).is_some(), "a fall from 90 %");
        let mut well = |level| news.of(level, &[]);
        assert_eq!(well(1.0).as_deref(), Some("budget 100 %"));
        assert_eq!(well(1.0), None, "once");
    }
}
