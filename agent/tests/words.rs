//! What `docs/leases.md` says that the agent says, it says.

use std::fs;
use std::path::Path;

/// Rows of the table "What happens when…", where the last column quotes the log.
const LEAST_ROWS: usize = 20;

#[test]
fn every_log_line_of_the_page_about_leases_is_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/leases.md")).expect("the page");
    let mut source = String::new();
    for folder in ["agent/src", "core/src"] {
        gather(&root.join(folder), &mut source);
    }
    let (_, table) = page.split_once("| and says |").expect("the table");
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= LEAST_ROWS, "only {} rows", rows.len());
    for row in rows {
        let says = row.trim_end_matches(" |").rsplit(" | ").next().expect("a last column");
        let quotes = says.split('`').skip(1).step_by(2).filter(|quote| is_a_line(quote));
        let parts = quotes.flat_map(|quote| quote.split('…')).map(str::trim);
        let parts: Vec<&str> = parts.filter(|part| part.len() > 3).collect();
        assert!(!parts.is_empty(), "no line is quoted: {row}");
        for part in parts {
            assert!(source.contains(part), "the source does not say `{part}`: {row}");
        }
    }
}

/// And not a command or an option.
fn is_a_line(quote: &str) -> bool {
    !quote.starts_with("--") && !quote.starts_with("twillctl ")
}

/// Every source below `folder`, with strings that are broken over lines in one piece.
fn gather(folder: &Path, source: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            gather(&path, source);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let mut lines = text.split("\\\n");
            source.push_str(lines.next().unwrap_or_default());
            lines.for_each(|line| source.push_str(line.trim_start()));
        }
    }
}
