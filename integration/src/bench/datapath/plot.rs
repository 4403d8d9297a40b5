//! One measure as bars, in SVG.

use std::fmt::Write as _;

use super::results::Spread;
use super::table::{escaped, number};

const WIDTH: f64 = 560.0;
const BAR: f64 = 18.0;
const STEP: f64 = 26.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 110.0;

/// A bar up to each median, with a line from the least to the most; `ours` is the one to look at.
pub(super) fn bars(title: &str, rows: &[(&str, Spread)], ours: &str) -> String {
    let most = rows.iter().map(|(_, spread)| spread.most).fold(f64::MIN_POSITIVE, f64::max);
    let at = |value: f64| LEFT + value / most * (WIDTH - LEFT - RIGHT);
    let (mut body, mut top) = (String::new(), 30.0);
    for (name, Spread { least, median, most }) in rows {
        let colour = if *name == ours { "#c2410c" } else { "#64748b" };
        let (middle, end, text) = (top + BAR / 2.0, at(*median), top + BAR - 5.0);
        let (from, to) = (at(*least), at(*most));
        let length = end - LEFT;
        // Writing into a string cannot fail.
        writeln!(
            body,
            "<text x=\"{x}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{top}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <path d=\"M{from:.1} {middle}H{to:.1}\" stroke=\"#0f172a\" stroke-width=\"1.5\"/>\
             <text x=\"{after:.1}\" y=\"{text}\">{}</text>",
            escaped(name),
            number(*median),
            x = LEFT - 8.0,
            after = to.max(end) + 8.0,
        )
        .ok();
        top += STEP;
    }
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {top}\" role=\"img\"><text class=\"t\" x=\"0\" y=\"16\">{}</text>\n\
         {body}</svg>\n",
        escaped(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_line_stays_inside() {
        let spread = |most| Spread { least: 1.0, median: 2.0, most };
        let plot =
            bars("TCP <1>", &[("raw", spread(4.0)), ("twill udp", spread(3.0))], "twill udp");
        assert!(plot.contains("H450.0\"") && !plot.contains("H450.1\""), "{plot}");
        assert!(plot.contains("TCP &lt;1&gt;") && plot.contains("#c2410c"), "{plot}");
        assert!(plot.contains("viewBox=\"0 0 560 82\""), "{plot}");
    }
}
