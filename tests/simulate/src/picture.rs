//! Nodes over time by phase, as an SVG.

use std::fmt::Write;
use std::time::Duration;

/// How many nodes are in each of [`NAMES`].
pub type Sample = (Duration, [usize; 5]);

pub const NAMES: [&str; 5] = ["has rebooted", "returning", "down", "cordoned, draining", "waiting"];
const COLOURS: [&str; 5] = ["#7fbf7b", "#a6dba0", "#d73027", "#fdae61", "#c7c7c7"];
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;

/// Areas on each other, the nodes that have rebooted at the bottom.
pub fn svg(samples: &[Sample], nodes: usize) -> String {
    let end = samples.last().map_or(1.0, |(at, _)| at.as_secs_f64().max(1.0));
    let x = |at: Duration| LEFT + at.as_secs_f64() / end * WIDTH;
    let y = |count: usize| TOP + HEIGHT - count as f64 / nodes.max(1) as f64 * HEIGHT;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"14\">\n",
        LEFT + WIDTH + 30.0,
        TOP + HEIGHT + 80.0
    );
    let up_to = |counts: &[usize; 5], last: usize| counts.iter().take(last).sum::<usize>();
    for (number, colour) in COLOURS.iter().enumerate() {
        let above = samples.iter().map(|(at, counts)| (x(*at), y(up_to(counts, number + 1))));
        let below = samples.iter().rev().map(|(at, counts)| (x(*at), y(up_to(counts, number))));
        let points: Vec<String> = above.chain(below).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(text, "<polygon fill=\"{colour}\" points=\"{}\"/>", points.join(" "));
        let place = LEFT + number as f64 * 190.0;
        let _ = writeln!(text, "<rect x=\"{place}\" y=\"12\" width=\"14\" height=\"14\" fill=\"{colour}\"/>");
        let _ = writeln!(text, "<text x=\"{}\" y=\"24\">{}</text>", place + 20.0, NAMES[number]);
    }
    for part in 0..=4 {
        let hours = end / 3600.0 * f64::from(part) / 4.0;
        let place = LEFT + WIDTH * f64::from(part) / 4.0;
        let _ = writeln!(
            text,
            "<text x=\"{place}\" y=\"{}\" text-anchor=\"middle\">{hours:.1} h</text>",
            TOP + HEIGHT + 24.0
        );
        let count = nodes * part as usize / 4;
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{count}</text>",
            LEFT - 8.0,
            y(count) + 5.0
        );
    }
    text + "</svg>\n"
}
