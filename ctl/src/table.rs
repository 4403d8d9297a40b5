//! Columns of text, aligned, without lines: easy to read, easy to cut.

use comfy_table::{Table, presets};

/// Rows under a header, ends of lines trimmed.
pub(crate) fn columns<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = plain();
    table.set_header(header);
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| printable(&cell))));
    text(&mut table)
}

/// One pair a line, the name first.
pub(crate) fn pairs(rows: Vec<(&str, String)>) -> String {
    let mut table = plain();
    table.add_rows(rows.into_iter().map(|(name, value)| [name.to_owned(), printable(&value)]));
    text(&mut table)
}

/// Host names, for one, are what other hosts say: none of them steers this terminal.
pub(crate) fn printable(cell: &str) -> String {
    let mut text = String::new();
    for letter in cell.chars() {
        match letter {
            control if control.is_control() => text.extend(control.escape_default()),
            letter => text.push(letter),
        }
    }
    text
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn text(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A span of time in its two largest units: `23h59m`, `4m05s`, `7s`.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![["10.88.1.0/24".to_owned(), "a".to_owned()], ["b".into(), String::new()]];
        assert_eq!(columns(["SUBNET", "NODE"], rows), "SUBNET        NODE\n10.88.1.0/24  a\nb\n");
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let text = columns(["NAME"], vec![["a\u{1b}[31m\nb".to_owned()]]);
        assert_eq!(text, "NAME\na\\u{1b}[31m\\nb\n");
    }

    #[test]
    fn spans_have_two_units() {
        let rows = [(0, "0s"), (59, "59s"), (65, "1m05s"), (86_399, "23h59m"), (90_000, "1d01h")];
        for (seconds, want) in rows {
            assert_eq!(span(seconds), want);
        }
    }
}
