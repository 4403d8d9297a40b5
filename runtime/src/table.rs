//! Columns of text, laid out as Docker's are: Go's `tabwriter` with cells of at least 10
//! characters and 3 blanks between.

const CELL: usize = 10;
const GAP: usize = 3;

/// Rows, the first usually a heading.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    /// The least width of a cell with its gap.
    cell: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { rows: Vec::new(), cell: CELL }
    }
}

impl Table {
    /// An empty table.
    pub fn new(heading: &[&str]) -> Self {
        Self::with_cell(CELL, heading)
    }

    /// The same with cells of another least width.
    pub fn with_cell(cell: usize, heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|&cell| cell.to_owned()).collect()], cell }
    }

    /// Adds a row at the end.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The lines, without line ends; the last cell of each is not padded.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count() + GAP).max().unwrap_or(0).max(self.cell)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.rows.iter().map(move |row| {
            let (last, cells) = row.split_last().map_or(("", &[][..]), |(l, c)| (l.as_str(), c));
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<String>() + last
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_three_or_ten_in_all() {
        let mut table = Table::new(&["ID", "STATUS", "NAMES"]);
        table.push(["a", "Up 2 minutes", "web"].map(str::to_owned).to_vec());
        table.push(["é…", "", "x"].map(str::to_owned).to_vec());
        let want = [
            "ID        STATUS         NAMES",
            "a         Up 2 minutes   web",
            "é…                       x",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), want);
    }
}
