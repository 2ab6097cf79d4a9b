//! The picture: a panel for each way, with what was felt at each moment of a usual round.
//!
//! Drawn as the benchmarks' plots are. The time at which something was due is on the horizontal axis, how long it
//! took until it was done on the vertical one, which is logarithmic.
//!
//! Threads: main.

use std::error::Error;
use std::io;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, DrawingArea, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor,
    Rectangle, SVGBackend, Text, WHITE,
};
use plotters::style::Color;

use crate::about;
use crate::felt::Who;
use crate::figures::due;
use crate::report::Report;
use crate::rounds::{REST, Round};

const SIZE: (i32, i32) = (1000, 380);
/// For what the colours stand for.
const LEGEND: i32 = 56;
const NAMES: i32 = 42;
/// While the command runs.
const SHADE: RGBColor = RGBColor(235, 235, 235);
/// From what nobody notices to more than anybody waits: 10 us to 10 s, in milliseconds.
const SCALE: Range<f64> = 0.01..10_000.0;

/// Who is shown, in a colour that those who see fewer can tell from the others, too; and how wide, since who waits for
/// the same is on top of each other.
const SHOWN: [(Who, &str, RGBColor, u32); 3] = [
    (Who::GuestTimer, "the guest's timer", RGBColor(0, 158, 115), 3),
    (Who::GuestDisk, "the guest's disk", RGBColor(0, 114, 178), 2),
    (Who::Monitor, "a second client of QEMU's monitor", RGBColor(213, 94, 0), 1),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes an SVG file.
pub(crate) fn write(report: &Report, path: &Path) -> io::Result<()> {
    draw(report, path).map_err(|error| about(path)(io::Error::other(error.to_string())))
}

fn draw(report: &Report, path: &Path) -> Result<(), Box<dyn Error>> {
    let size = (SIZE.0.try_into()?, SIZE.1.try_into()?);
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (top, panels) = root.split_vertically(LEGEND);
    legend(report, &top)?;
    let rounds: Vec<_> = report.ways.iter().map(|summary| report.typical(summary)).collect();
    let longest = rounds.iter().map(|round| round.took).fold(0.0, f64::max);
    for (round, panel) in rounds.iter().zip(panels.split_evenly((1, rounds.len()))) {
        draw_round(round, -REST..longest + REST, &panel)?;
    }
    root.present()?;
    Ok(())
}

fn legend(report: &Report, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
    let qemu = report.qemu();
    let title =
        format!("How long it takes, by when it was due, while QEMU {qemu} computes SHA-256");
    area.draw(&Text::new(title, (14, 8), ("sans-serif", 17)))?;
    for (index, (_, name, colour, width)) in SHOWN.into_iter().enumerate() {
        let x = 14 + 170 * i32::try_from(index)?;
        let line = [(x, NAMES), (x + 18, NAMES)];
        area.draw(&PathElement::new(line, colour.stroke_width(width)))?;
        area.draw(&Text::new(name, (x + 24, NAMES - 7), ("sans-serif", 14)))?;
    }
    let x = 14 + 170 * i32::try_from(SHOWN.len())? + 100;
    area.draw(&Rectangle::new([(x, NAMES - 6), (x + 18, NAMES + 6)], SHADE.filled()))?;
    area.draw(&Text::new("while the command runs", (x + 24, NAMES - 7), ("sans-serif", 14)))?;
    Ok(())
}

fn draw_round(round: &Round, seconds: Range<f64>, area: &Area<'_>) -> Result<(), Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .caption(round.way.name(), ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(38)
        .y_label_area_size(58)
        .build_cartesian_2d(seconds.clone(), SCALE.log_scale())?;
    let ends = [(0.0, SCALE.start), (round.took, SCALE.end)];
    chart.draw_series([Rectangle::new(ends, SHADE.filled())])?;
    let (format_x, format_y) = (|x: &f64| format!("{x:.0}"), |y: &f64| milliseconds(*y));
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .x_desc("s since the command")
        .x_labels(5)
        .x_label_formatter(&format_x)
        .y_label_formatter(&format_y)
        .y_labels(7)
        .draw()?;
    for (who, _, colour, width) in SHOWN {
        let points = due(&round.felt.samples, who).into_iter();
        let points = points.map(|(at, took)| (at - round.begun, took * 1e3));
        let shown = points.filter(|(at, _)| seconds.contains(at));
        let points: Vec<_> = shown.map(|(at, took)| (at, took.max(SCALE.start))).collect();
        chart.draw_series(LineSeries::new(points, colour.stroke_width(width)))?;
    }
    Ok(())
}

fn milliseconds(value: f64) -> String {
    match value {
        ..1.0 => format!("{:.0} us", value * 1e3),
        ..1_000.0 => format!("{value:.0} ms"),
        _ => format!("{:.0} s", value / 1e3),
    }
}
