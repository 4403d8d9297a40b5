//! Lists as the user wants them: `--format` and `--filter`, the same for every command.

pub mod containers;
pub mod filters;
pub mod images;
pub mod ports;

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::output;
use crate::table::Table;
use crate::template::{Data, Error, Labels, Template};

pub use filters::Filters;

/// What each `--format` of a list says about itself.
pub const FORMAT_HELP: &str = "`table`, `json`, a Go template, or `table` and a Go template";

/// How a list is printed.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Columns for people, as the command has them.
    Table,
    /// The same with other columns.
    Columns(Template),
    /// Text for each row.
    Text(Template),
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        match text {
            "" | "table" => Ok(Self::Table),
            _ => match text.strip_prefix("table") {
                Some(columns) if columns.starts_with([' ', '{', '\\']) => {
                    Template::of_format(columns.trim_start()).map(Self::Columns)
                }
                _ => Template::of_format(text).map(Self::Text),
            },
        }
    }
}

impl Format {
    /// Is it the caller's own? Then it counts, whatever else is asked for.
    #[must_use]
    pub fn is_own(&self) -> bool {
        *self != Self::Table
    }

    /// Might it ask for this field? Some are dear to find out.
    #[must_use]
    pub fn mentions(&self, field: &str) -> bool {
        match self {
            Self::Table => false,
            Self::Columns(template) | Self::Text(template) => template.mentions(field),
        }
    }
}

/// What a command knows about the rows of its list.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// Each field and its heading.
    pub headings: &'static [(&'static str, &'static str)],
    /// The usual columns, a template.
    pub columns: &'static str,
}

impl Listing {
    /// Prints the rows.
    pub fn print(&self, format: &Format, rows: &[Data]) -> Result<(), Error> {
        self.lines(format, rows)?.iter().for_each(output::line);
        Ok(())
    }

    /// The lines that are printed.
    pub fn lines(&self, format: &Format, rows: &[Data]) -> Result<Vec<String>, Error> {
        match format {
            Format::Text(template) => rows.iter().map(|row| template.render(row)).collect(),
            Format::Columns(template) => self.table(template, rows),
            Format::Table => self.table(&Template::parse(self.columns)?, rows),
        }
    }

    fn table(&self, template: &Template, rows: &[Data]) -> Result<Vec<String>, Error> {
        let mut table = Table::default();
        let headings = Data { fields: self.titles(), labels: Labels::Headings };
        for row in [&headings].into_iter().chain(rows) {
            for line in template.render(row)?.lines() {
                table.push(line.split('\t').map(str::to_owned).collect());
            }
        }
        Ok(table.lines().collect())
    }

    fn titles(&self) -> Value {
        let titles = self.headings.iter();
        let titles = titles.map(|(field, title)| ((*field).to_owned(), Value::from(*title)));
        Value::Object(titles.collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LISTING: Listing = Listing {
        headings: &[("ID", "THE ID"), ("Names", "NAMES")],
        columns: "{{.ID}}\t{{.Names}}",
    };

    #[test]
    fn formats() {
        check("table", &["THE ID    NAMES", "1         web", "2         db"]);
        check("", &["THE ID    NAMES", "1         web", "2         db"]);
        check("table {{.Names}}", &["NAMES", "web", "db"]);
        check(r"table {{.Names}}\t{{.ID}}", &["NAMES     THE ID", "web       1", "db        2"]);
        check("table {{upper .Names}}", &["NAMES", "WEB", "DB"]);
        check(
            "table {{.ID}}\t{{.Label \"a.b-c\"}}",
            &["THE ID    b c", "1         x", "2         "],
        );
        check("{{.ID}}={{.Names}}", &["1=web", "2=db"]);
        check("{{.ID}}{{.Label \"a.b-c\"}}", &["1x", "2"]);
        check("json", &[r#"{"ID":"1","Names":"web"}"#, r#"{"ID":"2","Names":"db"}"#]);
        check("tableau {{.ID}}", &["tableau 1", "tableau 2"]);
    }

    #[test]
    fn a_field_that_nobody_has_is_named() {
        let refused = LISTING.lines(&"{{.Bogus}}".parse().unwrap(), &rows()).unwrap_err();
        assert!(refused.to_string().contains("<.Bogus>"), "{refused}");
        assert!("{{.ID".parse::<Format>().is_err());
    }

    fn rows() -> Vec<Data> {
        let labels = Labels::Of([("a.b-c".to_owned(), "x".to_owned())].into());
        let first = Data { fields: json!({"ID": "1", "Names": "web"}), labels };
        vec![first, json!({"ID": "2", "Names": "db"}).into()]
    }

    #[track_caller]
    fn check(format: &str, want: &[&str]) {
        assert_eq!(LISTING.lines(&format.parse().unwrap(), &rows()).unwrap(), want, "{format}");
    }
}
