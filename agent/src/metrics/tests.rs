use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::status::{Board, Boards};

/// What a scrape says of a host that has everything: `name type`.
fn exported() -> BTreeSet<(String, String)> {
    let board = crate::status::everything();
    board.meters().tunnels(vec![("flannel0".to_owned(), Arc::default())]);
    let mut names = types(&page(&board));
    let following = Page::of(&Boards::following("/p")).text().expect("a page").1;
    names.extend(types(&following));
    // The kernel of the machine that tests may have no such device.
    names.extend(process::device_names().map(|name| (name, "counter".to_owned())));
    names
}

fn page(board: &Board) -> String {
    Page::of(&Boards::alone(board.clone())).text().expect("a page").1
}

fn types(page: &str) -> BTreeSet<(String, String)> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let pairs = lines.map(|line| line.split_once(' ').expect("a name and a type"));
    pairs.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_page_of_the_documentation_lists_what_is_exported_and_nothing_else() {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let listed: BTreeSet<_> = rows
        .map(|row| (row[0].trim_end_matches('`').to_owned(), row[1].to_owned()))
        .filter(|(name, _kind)| name.starts_with("twill_") || name.starts_with("process_"))
        .collect();
    let exported = exported();
    let missing: Vec<_> = exported.difference(&listed).collect();
    let invented: Vec<_> = listed.difference(&exported).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not listed: {missing:?}, not exported: {invented:?}"
    );
}

#[test]
fn every_name_keeps_to_the_conventions() {
    for (name, kind) in exported() {
        assert!(name.starts_with("twill_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        let word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(name.bytes().all(word), "{name}");
        for unit in ["_ms", "_millis", "_kb", "_kib", "_percent", "_minutes"] {
            assert!(!name.contains(unit), "{name} is not in a base unit");
        }
    }
}

#[test]
fn every_expression_of_the_dashboard_names_what_is_exported() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("packaging/grafana-dashboard.json")).expect("JSON");
    let mut expressions = Vec::new();
    gather(&dashboard, &mut expressions);
    assert!(expressions.len() >= 12, "only {} expressions", expressions.len());
    let mut series = BTreeSet::new();
    for (name, kind) in exported() {
        if kind == "histogram" {
            series.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
        } else {
            series.insert(name);
        }
    }
    for expression in expressions {
        let words = expression.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let names: Vec<&str> = words
            .filter(|word| word.starts_with("twill_") || word.starts_with("process_"))
            .collect();
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            assert!(series.contains(name), "{name} is not exported: {expression}");
        }
    }
}

fn gather(value: &serde_json::Value, expressions: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                match value {
                    serde_json::Value::String(text) if name == "expr" => {
                        expressions.push(text.clone());
                    }
                    _other => gather(value, expressions),
                }
            }
        }
        serde_json::Value::Array(values) => {
            for value in values {
                gather(value, expressions);
            }
        }
        _leaf => {}
    }
}

#[test]
fn numbers_arrive_on_the_page() {
    let board = crate::status::everything();
    let meters = board.meters();
    meters.pass(CHANGED, Duration::from_millis(3));
    meters.healed("route");
    meters.healed("route");
    meters.firewall::<()>(&Ok(true));
    meters.firewall(&Err(()));
    meters.asked("renew", true, Duration::from_secs(20));
    meters.reconnected();
    meters.listed();
    let page = page(&board);
    for line in [
        "twill_build_info{version=\"",
        "twill_reconcile_passes_total{outcome=\"changed\"} 1\n",
        "twill_reconcile_passes_total{outcome=\"failed\"} 0\n",
        "twill_reconcile_duration_seconds_bucket{le=\"0.002\"} 0\n",
        "twill_reconcile_duration_seconds_bucket{le=\"0.004\"} 1\n",
        "twill_drift_healed_total{kind=\"route\"} 2\n",
        "twill_drift_healed_total{kind=\"fdb\"} 0\n",
        "twill_firewall_checks_total{outcome=\"changed\"} 1\n",
        "twill_firewall_checks_total{outcome=\"failed\"} 1\n",
        "twill_etcd_requests_total{method=\"renew\"} 1\n",
        "twill_etcd_request_errors_total{method=\"renew\"} 1\n",
        "twill_etcd_request_errors_total{method=\"claim\"} 0\n",
        "twill_etcd_request_duration_seconds_bucket{le=\"8.192\"} 0\n",
        "twill_etcd_request_duration_seconds_count 1\n",
        "twill_etcd_reconnects_total 1\n",
        "twill_watch_relists_total 1\n",
        "twill_ready 1\n",
        "twill_etcd_connected 1\n",
        "twill_peers 1\n",
        "twill_ignored_leases{reason=\"other-vni\"} 1\n",
        "twill_ignored_leases{reason=\"malformed\"} 0\n",
        "process_threads ",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}

/// What other hosts write into etcd must not become a label: a page that grows with it would be a
/// way to fill this host's memory, and Prometheus's.
#[test]
fn the_page_does_not_grow_with_the_network() {
    let board = crate::status::everything();
    let lines = |board: &Board| page(board).lines().count();
    let before = lines(&board);
    crate::status::crowd(&board, 5000);
    assert!(page(&board).contains("twill_peers 5000\n"));
    assert_eq!(lines(&board), before);
}

#[test]
fn each_of_several_networks_has_its_own_numbers() {
    let boards = Boards::of(&["a", "b"].map(|name| Some(name.parse().unwrap())));
    let all = boards.all();
    crate::status::join(&all[0].1);
    boards.meters().firewall::<()>(&Ok(true));
    for (times, (_name, board)) in all.iter().enumerate() {
        for _ in 0..=times {
            board.meters().pass(CHANGED, Duration::from_millis(3));
            board.meters().reconnected();
        }
        board.meters().tunnels(vec![(format!("flannel{times}"), Arc::default())]);
    }
    let (_form, page) = Page::of(&boards).text().unwrap();
    for line in [
        "twill_reconcile_passes_total{network=\"a\",outcome=\"changed\"} 1\n",
        "twill_reconcile_passes_total{network=\"b\",outcome=\"changed\"} 2\n",
        "twill_reconcile_duration_seconds_count{network=\"b\"} 2\n",
        "twill_etcd_reconnects_total{network=\"a\"} 1\n",
        "twill_firewall_checks_total{outcome=\"changed\"} 1\n",
        "twill_ready{network=\"a\"} 1\n",
        "twill_ready{network=\"b\"} 0\n",
        "twill_peers{network=\"a\"} 1\n",
        "twill_ignored_leases{network=\"a\",reason=\"other-vni\"} 1\n",
        "twill_refused_packets_total{network=\"b\",way=\"vxlan\",reason=\"inner\"} 0\n",
        "twill_tunnel_packets_total{network=\"b\",device=\"flannel1\",direction=\"in\"} 0\n",
        "twill_tunnel_shortcut_packets_total{network=\"a\",device=\"flannel0\",direction=\"out\"} 0\n",
        "twill_tunnel_shortcut_bytes_total{network=\"b\",device=\"flannel1\",direction=\"in\"} 0\n",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert!(!page.contains("twill_peers{network=\"b\"}"), "it has no subnet yet: {page}");
    let names: Vec<&str> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let once: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), once.len(), "a name is declared once: {page}");
    boards.remove(&"a".parse().unwrap());
    let (_form, page) = Page::of(&boards).text().unwrap();
    assert!(!page.contains("network=\"a\"") && page.contains("network=\"b\""), "{page}");
}
