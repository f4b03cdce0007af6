//! The progress display: a line per provider with its pace, a bar for the whole. On a
//! terminal it is drawn in place, elsewhere a line now and then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use loadtests::book::Live;
use mail::CampaignId;
use mail::queue::Counters;

use super::Wish;
use super::platform::Platform;

/// Without a terminal, a line this often.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// The rate shown is that of the last seconds.
const RATE_OVER: Duration = Duration::from_secs(3);
/// Providers that have a line of their own; the long tail shares one.
const NAMED_MAX: usize = 5;

pub(super) struct Watch {
    bars: Option<Bars>,
    began: Instant,
    last_line: Instant,
    past: Vec<(Instant, BTreeMap<String, Live>)>,
}

struct Bars {
    all: MultiProgress,
    /// The names of the columns; a bar that nobody holds is not drawn.
    head: ProgressBar,
    total: ProgressBar,
    providers: BTreeMap<String, ProgressBar>,
}

impl Watch {
    pub(super) fn new(wish: &Wish, platform: &Platform, campaign: CampaignId) -> Self {
        let now = Instant::now();
        let bars = wish.is_watched.then(|| Bars::new(wish, platform, campaign));
        Self { bars, began: now, last_line: now, past: Vec::new() }
    }

    /// A sentence for the person who watches.
    pub(super) fn say(&self, sentence: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.all.println(format!("  {sentence}"));
            }
            None => eprintln!("[{:>5.1} s] {sentence}", self.began.elapsed().as_secs_f64()),
        }
    }

    pub(super) async fn look(
        &mut self,
        platform: &Platform,
        counters: &Counters,
    ) -> anyhow::Result<()> {
        let live = grouped(platform);
        let now = Instant::now();
        self.past.retain(|(at, _)| now.duration_since(*at) < RATE_OVER);
        self.past.push((now, live.clone()));
        let done = counters.accepted - counters.waiting;
        let Some(bars) = &self.bars else {
            if self.last_line.elapsed() >= LINE_EVERY {
                self.last_line = now;
                self.say(&format!(
                    "{done} of {} at rest: {} delivered, {} failed; {} deferrals so far",
                    counters.accepted, counters.delivered, counters.failed, counters.deferrals
                ));
            }
            return Ok(());
        };
        bars.total.set_position(done);
        let rate: f64 = live.keys().map(|name| self.rate(name, now)).sum();
        bars.total.set_message(format!("{rate:.0}/s"));
        for (name, bar) in &bars.providers {
            if let Some(live) = live.get(name) {
                bar.set_message(line(name, live, self.rate(name, now)));
            }
        }
        Ok(())
    }

    /// Messages a second that a provider took lately.
    fn rate(&self, name: &str, now: Instant) -> f64 {
        let delivered =
            |row: &(Instant, BTreeMap<String, Live>)| row.1.get(name).map_or(0, |l| l.delivered);
        match (self.past.first(), self.past.last()) {
            (Some(first), Some(last)) if now > first.0 => {
                let seconds = now.duration_since(first.0).as_secs_f64();
                delivered(last).saturating_sub(delivered(first)) as f64 / seconds
            }
            _ => 0.0,
        }
    }

    pub(super) fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.total.finish_and_clear();
            bars.head.finish();
            bars.providers.values().for_each(ProgressBar::finish);
        }
    }
}

impl Bars {
    fn new(wish: &Wish, platform: &Platform, campaign: CampaignId) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let line = ProgressStyle::with_template("  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let _ = all.println(format!(
            "campaign {campaign}: {} recipients, two relays, one of which will be killed\n",
            wish.recipients
        ));
        let head = all.add(ProgressBar::new(0).with_style(line.clone()));
        head.set_message(format!(
            "{:<12} {:>7} {:>10} {:>9} {:>8} {:>6}",
            "provider", "now/s", "delivered", "deferred", "bounced", "conns"
        ));
        head.tick();
        let mut providers = BTreeMap::new();
        for name in grouped(platform).into_keys() {
            let bar = all.add(ProgressBar::new(0).with_style(line.clone()));
            bar.set_message(self::line(&name, &Live::default(), 0.0));
            providers.insert(name, bar);
        }
        let style = ProgressStyle::with_template(
            "\n  {bar:40.cyan/blue} {pos}/{len} at rest  {msg}  {elapsed} gone, about {eta} to go",
        );
        let total = all.add(ProgressBar::new(wish.recipients));
        total.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { all, head, total, providers }
    }
}

fn line(name: &str, live: &Live, rate: f64) -> String {
    format!(
        "{name:<12} {rate:>7.1} {:>10} {:>9} {:>8} {:>6}",
        live.delivered, live.deferred, live.bounced, live.open
    )
}

/// The large providers by name, all others together.
fn grouped(platform: &Platform) -> BTreeMap<String, Live> {
    let named: Vec<String> =
        platform.internet.providers().into_iter().map(|(name, _)| name).take(NAMED_MAX).collect();
    let mut groups: BTreeMap<String, Live> = BTreeMap::new();
    for (name, live) in platform.internet.book().live() {
        let group = if named.contains(&name) { name } else { "others".to_owned() };
        let sum = groups.entry(group).or_default();
        sum.delivered += live.delivered;
        sum.deferred += live.deferred;
        sum.bounced += live.bounced;
        sum.open += live.open;
    }
    groups
}
