//! Plots with logarithmic axes, as SVG and as text.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use plotters::prelude::{
    ChartBuilder, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor, SVGBackend,
    Text, WHITE,
};
use plotters::style::Color;

use crate::table::Column;

/// Somebody's points, from left to right.
pub(crate) struct Line {
    column: Column,
    points: Vec<(f64, f64)>,
}

impl Line {
    pub(crate) fn new(column: Column) -> Line {
        Line { column, points: Vec::new() }
    }

    pub(crate) fn column(&self) -> Column {
        self.column
    }

    pub(crate) fn push(&mut self, x: f64, y: f64) {
        self.points.push((x, y));
    }
}

/// Lines with what is written beside them.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) lines: Vec<Line>,
}

const SIZE: (i32, i32) = (800, 420);

/// Room around the axes, and for what is written beside them: the names of the lines are at the right.
const MARGIN: i32 = 12;
const NAMES: i32 = 140;
const X_AXIS: i32 = 42;
const Y_AXIS: i32 = 64;

/// By column: ours is first, and stands out. The others can be told apart by those who see fewer colours, too.
const COLOURS: [RGBColor; Column::COUNT] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(128, 128, 128),
];

impl Plot {
    /// Writes an SVG file.
    pub(crate) fn write(&self, path: &Path) {
        self.draw(path).expect("the file can be written");
    }

    fn draw(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let root =
            SVGBackend::new(path, (SIZE.0.try_into()?, SIZE.1.try_into()?)).into_drawing_area();
        root.fill(&WHITE)?;
        let (xs, ys) = (self.range(|point| point.0), decades(&self.range(|point| point.1)));
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 20))
            .margin(MARGIN)
            .margin_right(NAMES)
            .x_label_area_size(X_AXIS)
            .y_label_area_size(Y_AXIS)
            .build_cartesian_2d(xs.log_scale(), ys.log_scale())?;
        let (format_x, format_y) = (|x: &f64| short(*x), |y: &f64| short(*y));
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&format_x)
            .y_label_formatter(&format_y)
            .y_labels(4)
            .draw()?;
        for (index, line) in self.lines.iter().enumerate() {
            let width = if line.column == Column::Ours { 3 } else { 2 };
            let style = COLOURS[line.column as usize].stroke_width(width);
            let series = LineSeries::new(line.points.iter().copied(), style).point_size(3);
            chart.draw_series(series)?;
            let (x, y) = (SIZE.0 - NAMES + 8, 48 + 20 * i32::try_from(index)?);
            root.draw(&PathElement::new([(x, y), (x + 18, y)], style))?;
            root.draw(&Text::new(line.column.name(), (x + 24, y - 6), ("sans-serif", 13)))?;
        }
        root.present()?;
        Ok(())
    }

    /// From the lowest to the highest value, each with some room.
    fn range(&self, value: fn(&(f64, f64)) -> f64) -> Range<f64> {
        let values = self.lines.iter().flat_map(|line| &line.points).map(value);
        let (low, high) =
            values.fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        low / 1.2..high * 1.2
    }
}

/// The powers of ten around a range.
fn decades(range: &Range<f64>) -> Range<f64> {
    10_f64.powf(range.start.log10().floor())..10_f64.powf(range.end.log10().ceil())
}

/// A number with a unit for thousands.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => value.to_string(),
    }
}

impl fmt::Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.lines.iter().max_by_key(|line| line.points.len());
        let sizes = widest.map(|line| line.points.as_slice()).unwrap_or_default();
        writeln!(f, "{}, {}", self.title, self.y)?;
        write!(f, "{:<26}", self.x)?;
        sizes.iter().try_for_each(|(x, _)| write!(f, " {:>9}", short(*x)))?;
        writeln!(f)?;
        for line in &self.lines {
            write!(f, "{:<26}", line.column.name())?;
            line.points.iter().try_for_each(|(_, y)| write!(f, " {y:>9.1}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}
