//! Lines over time, drawn here as SVG: they need no script, and their colours are those of the page.

use std::ops::Range;

use mail::Timestamp;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use serde::Serialize;

/// How much room a picture has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// All of the page's width.
    Wide,
    /// A half of it.
    Half,
}

impl Room {
    /// In units of the picture, which grows and shrinks with the page.
    const fn size(self) -> (u32, u32) {
        match self {
            Self::Wide => (1180, 240),
            Self::Half => (580, 240),
        }
    }
}

const LABEL: u32 = 13;

/// What a line tells; each has a colour of its own, light and dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tone {
    Good,
    Late,
    Bad,
    Plain,
}

impl Tone {
    /// A colour that stands for the page's own until the picture is done.
    const fn mark(self) -> RGBColor {
        match self {
            Self::Good => RGBColor(1, 2, 1),
            Self::Late => RGBColor(1, 2, 2),
            Self::Bad => RGBColor(1, 2, 3),
            Self::Plain => RGBColor(1, 2, 4),
        }
    }
}

const TEXT: RGBColor = RGBColor(1, 2, 5);
const GRID: RGBColor = RGBColor(1, 2, 6);
const VARIABLES: &[(&str, &str)] = &[
    ("#010201", "var(--good)"),
    ("#010202", "var(--late)"),
    ("#010203", "var(--bad)"),
    ("#010204", "var(--accent)"),
    ("#010205", "var(--muted)"),
    ("#010206", "var(--line)"),
];

/// A line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    /// The key of its name among the words.
    pub(crate) name: &'static str,
    pub(crate) tone: Tone,
    /// Whether what lies below it is filled.
    #[serde(skip)]
    pub(crate) is_area: bool,
    /// Moment and value, in the order of time.
    pub(crate) points: Vec<(Timestamp, f64)>,
}

/// A picture of lines in a period, in SVG; empty where it cannot be drawn, which would be a fault here.
pub(crate) fn lines(room: Room, since: Timestamp, until: Timestamp, lines: &[Line]) -> String {
    let mut svg = String::new();
    let drawn = draw(&mut svg, room, &(since..until), lines).map_err(|why| why.to_string());
    if let Err(why) = drawn {
        tracing::error!("no picture: {why}");
        return String::new();
    }
    for (mark, variable) in VARIABLES {
        svg = svg.replace(mark, variable);
    }
    // It scales with the page; whoever does not see it has the table beside it.
    svg.replacen("<svg ", "<svg class=\"chart\" aria-hidden=\"true\" ", 1)
}

fn draw(
    svg: &mut String,
    room: Room,
    period: &Range<Timestamp>,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let highest = lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y));
    let highest = highest.fold(0.0, f64::max).max(1.0) * 1.1;
    let root = SVGBackend::with_string(svg, room.size()).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin_top(8)
        .margin_right(12)
        .x_label_area_size(26)
        .y_label_area_size(52)
        .build_cartesian_2d(Time::new(period), 0.0..highest)?;
    let label = || ("sans-serif", LABEL).into_font().color(&TEXT);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .y_labels(5)
        .x_labels(8)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .x_label_style(label())
        .y_label_style(label())
        .y_label_formatter(&|y| short(*y))
        .draw()?;
    for line in lines {
        let points = || line.points.iter().map(|(at, y)| (at.0 as f64 / 1000.0, *y));
        let colour = line.tone.mark();
        if line.is_area {
            let area = AreaSeries::new(points(), 0.0, colour.mix(0.18));
            chart.draw_series(area)?;
        }
        chart.draw_series(LineSeries::new(points(), colour.stroke_width(2)))?;
    }
    root.present()?;
    Ok(())
}

/// A number that fits beside an axis.
fn short(y: f64) -> String {
    match y {
        y if y >= 1e6 => format!("{}M", trimmed(y / 1e6)),
        y if y >= 1e3 => format!("{}k", trimmed(y / 1e3)),
        y => trimmed(y),
    }
}

fn trimmed(y: f64) -> String {
    let text = format!("{y:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An axis of time in seconds, whose marks stand at whole minutes, hours and days.
struct Time(Range<f64>);

impl Time {
    /// From one mark to the next.
    const STEPS_S: &[u64] = &[
        60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
        1_209_600, 2_592_000, 7_776_000, 31_536_000,
    ];

    fn new(period: &Range<Timestamp>) -> Self {
        let (since, until) = (period.start.0 as f64 / 1000.0, period.end.0 as f64 / 1000.0);
        Self(since..until.max(since + 60.0))
    }

    fn length(&self) -> f64 {
        self.0.end - self.0.start
    }
}

impl Ranged for Time {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, at: &f64, limit: (i32, i32)) -> i32 {
        let share = (at - self.0.start) / self.length();
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let most = hint.max_num_points().min(8) as f64;
        let fits = |step: &&u64| self.length() / **step as f64 <= most;
        let step = Self::STEPS_S.iter().find(fits).or(Self::STEPS_S.last());
        let step = step.copied().unwrap_or(60) as f64;
        let first = (self.0.start / step).ceil() as u64;
        let last = (self.0.end / step).floor() as u64;
        (first..=last).map(|n| n as f64 * step).collect()
    }

    fn range(&self) -> Range<f64> {
        self.0.clone()
    }
}

impl ValueFormatter<f64> for Time {
    fn format_ext(&self, at: &f64) -> String {
        let text = Timestamp((*at * 1000.0) as u64).to_string();
        // "2026-11-27T19:05:00.000Z"
        let part = if text[11..16] == *"00:00" { 5..10 } else { 11..16 };
        text[part].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_colours_of_the_page_and_marks_at_whole_hours() {
        let at = |hour: u64| Timestamp(1_764_201_600_000 + hour * 3_600_000 + 123);
        let points = (0..24).map(|hour| (at(hour), hour as f64 * 1000.0)).collect();
        let line = Line { name: "delivered", tone: Tone::Good, is_area: true, points };
        let svg = lines(Room::Wide, at(0), at(24), &[line]);
        assert!(svg.starts_with("<svg class=\"chart\"") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("var(--good)") && !svg.contains("#0102"), "{svg}");
        assert!(!svg.contains("style="), "the page's policy forbids it");
        assert!(svg.contains("03:00") && svg.contains("20k"), "{svg}");
        assert!(lines(Room::Half, at(0), at(0), &[]).contains("</svg>"), "nothing is drawn, too");
    }
}
