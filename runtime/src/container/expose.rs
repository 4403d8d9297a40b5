//! `--expose PORT[-PORT][/PROTOCOL]`: a record for people and programs; nothing is opened.

/// Each port by itself, as in `80/tcp`.
pub fn parse(text: &str) -> Result<Vec<String>, String> {
    let invalid = || format!("invalid range format for --expose: {text}");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("invalid proto: {protocol}"));
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(invalid);
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(invalid());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        for (text, want) in [
            ("80", Some("80/tcp")),
            ("53/UDP", Some("53/udp")),
            ("8000-8002", Some("8000/tcp 8001/tcp 8002/tcp")),
            ("2-1", None),
            ("0", None),
            ("65536", None),
            ("x", None),
            ("80/bogus", None),
        ] {
            assert_eq!(parse(text).ok().map(|all| all.join(" ")).as_deref(), want, "{text}");
        }
    }
}
