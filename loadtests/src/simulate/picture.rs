//! The rate against the hidden limit, as a picture.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{Run, Scenario, Which};

const SIZE: (u32, u32) = (960, 400);
/// Points that a line is drawn with.
const POINTS: usize = 480;

/// Draws how each policy went through a scenario, ours thick, in SVG.
///
/// # Errors
/// When the drawing cannot be made, which would be a fault of this program.
pub fn picture(scenario: &Scenario, runs: &[(Which, &Run)]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, scenario, runs).map_err(|why| anyhow!("no picture: {why}"))?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    scenario: &Scenario,
    runs: &[(Which, &Run)],
) -> Result<(), Box<dyn std::error::Error>> {
    let Some((_, ours)) = runs.iter().find(|(which, _)| *which == Which::Ours) else {
        return Ok(());
    };
    let limit = means(ours, |second| second.0);
    let highest = limit.iter().map(|(_, rate)| *rate).fold(0.0, f64::max) * 1.6;
    let (unit, seconds) = match scenario.seconds {
        s if s > 10_000.0 => ("hours", 3600.0),
        _ => ("minutes", 60.0),
    };
    let in_unit = |line: Vec<(f64, f64)>| line.into_iter().map(move |(at, y)| (at / seconds, y));
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(&scenario.name, ("sans-serif", 20))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..scenario.seconds / seconds, 0.0..highest)?;
    chart
        .configure_mesh()
        .x_desc(unit)
        .y_desc("messages a second")
        .light_line_style(WHITE)
        .draw()?;
    for (n, (which, run)) in runs.iter().rev().enumerate() {
        let (colour, width) = match which {
            Which::Ours => (RGBColor(0, 90, 200), 2),
            _ => (grey(n), 1),
        };
        let line = means(run, |second| f64::from(second.1));
        let capped = line.into_iter().map(|(at, rate)| (at, rate.min(highest)));
        chart
            .draw_series(LineSeries::new(in_unit(capped.collect()), colour.stroke_width(width)))?
            .label(which.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .draw_series(LineSeries::new(in_unit(limit), RED.stroke_width(1)))?
        .label("hidden limit")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], RED));
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Second and mean of so many seconds.
fn means(run: &Run, of: impl Fn(&(f64, u32, u32)) -> f64) -> Vec<(f64, f64)> {
    let each = (run.seconds.len() / POINTS).max(1);
    let mean = |(n, part): (usize, &[(f64, u32, u32)])| {
        let sum: f64 = part.iter().map(&of).sum();
        ((n * each) as f64, sum / part.len() as f64)
    };
    run.seconds.chunks(each).enumerate().map(mean).collect()
}

/// The others, told apart by their shades.
fn grey(n: usize) -> RGBColor {
    let shade = 90 + (n as u8 * 22) % 130;
    RGBColor(shade, shade.saturating_add(10), shade)
}
