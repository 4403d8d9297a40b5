//! A table, for a terminal, as Markdown and as HTML.

use std::fmt::Write as _;

/// The first column is text, the others are numbers or short words.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) title: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(title: &str, header: Vec<String>) -> Self {
        Self { title: title.to_owned(), header, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Without the rows of which `wanted` does not think so.
    pub(super) fn keep(&mut self, wanted: impl Fn(&[String]) -> bool) {
        self.rows.retain(|row| wanted(row));
    }

    /// In columns.
    pub(super) fn text(&self) -> String {
        let all = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column: usize| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let mut text = format!("{}\n", self.title);
        for row in all() {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = width(column);
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }

    /// As Markdown, under a heading.
    pub(super) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|---|{}\n", "---:|".repeat(self.header.len().saturating_sub(1)));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("## {}\n\n{}{rule}{rows}\n", self.title, line(&self.header))
    }

    /// As HTML, under a heading.
    pub(super) fn html(&self) -> String {
        let mut text = format!("<h2>{}</h2>\n<table>\n", escaped(&self.title));
        for (row, tag) in
            std::iter::once((&self.header, "th")).chain(self.rows.iter().map(|row| (row, "td")))
        {
            text.push_str("<tr>");
            for cell in row {
                // Writing into a string cannot fail.
                write!(text, "<{tag}>{}</{tag}>", escaped(cell)).ok();
            }
            text.push_str("</tr>\n");
        }
        text + "</table>\n"
    }
}

/// Three digits that matter.
pub(super) fn number(number: f64) -> String {
    match number.abs() {
        size if size >= 100_000.0 => format!("{:.0}k", number / 1e3),
        size if size >= 10_000.0 => format!("{:.1}k", number / 1e3),
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _small => format!("{number:.2}"),
    }
}

/// For HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, wanted) in [
            (0.1234, "0.12"),
            (12.34, "12.3"),
            (1234.5, "1234"),
            (23_456.0, "23.5k"),
            (180_123.0, "180k"),
        ] {
            assert_eq!(number(value), wanted);
        }
    }

    #[test]
    fn one_table_in_three_forms() {
        let mut table = Table::new("Rates", vec!["what".to_owned(), "µs".to_owned()]);
        table.row(["a < b".to_owned(), "12.5".to_owned()]);
        assert_eq!(table.text(), "Rates\nwhat     µs\na < b  12.5\n");
        assert_eq!(table.markdown(), "## Rates\n\n| what | µs |\n|---|---:|\n| a < b | 12.5 |\n\n");
        assert!(table.html().contains("<td>a &lt; b</td><td>12.5</td>"), "{}", table.html());
    }
}
