//! Dockerfile instructions that an import applies to the configuration of the new image.
//! Grammar: the Dockerfile reference, "CMD", "ENV" and so on; without variables and line breaks.

use std::collections::HashMap;

use oci_spec::image::Config;

use super::error::Error;

/// Why an instruction is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Invalid {
    #[error("the instruction is not one that an import can apply")]
    Unknown,
    #[error("it needs a value")]
    NoValue,
    #[error("a quote is not closed")]
    Quote,
    #[error("NAME=VALUE is needed")]
    Pair,
    #[error("a port is 1 to 65535, perhaps with /tcp, /udp or /sctp")]
    Port,
}

/// The configuration that the instructions make, in their order.
pub(super) fn apply(changes: &[String]) -> Result<Config, Error> {
    apply_to(Config::default(), changes)
}

/// The same over a configuration that is there.
pub(super) fn apply_to(mut config: Config, changes: &[String]) -> Result<Config, Error> {
    let is = |text: &String, wanted: &str| {
        text.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case(wanted))
    };
    // The old command was for the old entry point.
    if changes.iter().any(|text| is(text, "ENTRYPOINT"))
        && !changes.iter().any(|text| is(text, "CMD"))
    {
        config.set_cmd(None);
    }
    for text in changes {
        let failed = |source| Error::Change { text: text.clone(), source };
        change(&mut config, text.trim()).map_err(failed)?;
    }
    Ok(config)
}

fn change(config: &mut Config, text: &str) -> Result<(), Invalid> {
    let (instruction, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let value = value.trim();
    let instruction = instruction.to_ascii_uppercase();
    let known =
        ["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"];
    if !known.contains(&instruction.as_str()) {
        return Err(Invalid::Unknown);
    }
    if value.is_empty() {
        return Err(Invalid::NoValue);
    }
    match instruction.as_str() {
        "CMD" => drop(config.set_cmd(Some(command(value)))),
        "ENTRYPOINT" => drop(config.set_entrypoint(Some(command(value)))),
        "ENV" => environment(config, value)?,
        "EXPOSE" => {
            let ports = words(value)?.iter().map(|word| port(word)).collect::<Result<_, _>>()?;
            let all = extended(config.exposed_ports().clone(), ports);
            config.set_exposed_ports(Some(all));
        }
        "LABEL" => {
            let labels: HashMap<String, String> = pairs(value)?.into_iter().collect();
            config.labels_mut().get_or_insert_default().extend(labels);
        }
        "STOPSIGNAL" => drop(config.set_stop_signal(Some(value.to_owned()))),
        "USER" => drop(config.set_user(Some(value.to_owned()))),
        "VOLUME" => {
            let volumes = array(value).map_or_else(|| words(value), Ok)?;
            let all = extended(config.volumes().clone(), volumes);
            config.set_volumes(Some(all));
        }
        _ => drop(config.set_working_dir(Some(below(config.working_dir().as_deref(), value)))),
    }
    Ok(())
}

/// `["a", "b"]` as it stands; anything else is for the shell.
fn command(value: &str) -> Vec<String> {
    let shell = || ["/bin/sh", "-c", value].map(str::to_owned).to_vec();
    array(value).unwrap_or_else(shell)
}

fn array(value: &str) -> Option<Vec<String>> {
    serde_json::from_str(value).ok()
}

fn environment(config: &mut Config, value: &str) -> Result<(), Invalid> {
    let mut all = config.env().clone().unwrap_or_default();
    for (name, value) in pairs(value)? {
        all.retain(|old| old.split_once('=').is_none_or(|(old, _)| old != name));
        all.push(format!("{name}={value}"));
    }
    config.set_env(Some(all));
    Ok(())
}

/// `A=1 B="2 3"`, or the old form `A the rest of the line`.
fn pairs(value: &str) -> Result<Vec<(String, String)>, Invalid> {
    let first = value.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = value.split_once(char::is_whitespace).ok_or(Invalid::Pair)?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Invalid::Pair),
    };
    words(value)?.into_iter().map(pair).collect()
}

/// Splits at white space outside of quotes; a backslash takes the next character as it is.
fn words(value: &str) -> Result<Vec<String>, Invalid> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(characters.next()),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, Some(open)) if open == c => quote = None,
            (_, None) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err(Invalid::Quote) } else { Ok(words) }
}

fn port(word: &str) -> Result<String, Invalid> {
    let (number, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let number: u16 = number.parse().ok().filter(|port| *port > 0).ok_or(Invalid::Port)?;
    let protocol = protocol.to_ascii_lowercase();
    if ["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        Ok(format!("{number}/{protocol}"))
    } else {
        Err(Invalid::Port)
    }
}

fn extended(old: Option<Vec<String>>, new: Vec<String>) -> Vec<String> {
    let mut all = old.unwrap_or_default();
    all.extend(new);
    all.sort();
    all.dedup();
    all
}

/// A relative directory is below the one before it, and that below `/`.
fn below(old: Option<&str>, new: &str) -> String {
    if new.starts_with('/') {
        return new.to_owned();
    }
    format!("{}/{new}", old.unwrap_or_default().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instructions_become_configuration() {
        let config = made(&[
            r#"CMD ["sh", "-l"]"#,
            "entrypoint /init --now",
            "ENV A=1 B=\"two words\" C=a\\ b",
            "ENV A the rest",
            "EXPOSE 80 53/UDP 80/tcp",
            "LABEL who='me and you'",
            "STOPSIGNAL SIGQUIT",
            "USER 33:33",
            "VOLUME [\"/data\"]",
            "VOLUME /data /more",
            "WORKDIR /srv",
            "WORKDIR www",
        ]);
        let texts = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect());
        assert_eq!(*config.cmd(), texts(&["sh", "-l"]));
        assert_eq!(*config.entrypoint(), texts(&["/bin/sh", "-c", "/init --now"]));
        assert_eq!(*config.env(), texts(&["B=two words", "C=a b", "A=the rest"]));
        assert_eq!(*config.exposed_ports(), texts(&["53/udp", "80/tcp"]));
        assert_eq!(config.labels().as_ref().unwrap()["who"], "me and you");
        assert_eq!(config.stop_signal().as_deref(), Some("SIGQUIT"));
        assert_eq!(config.user().as_deref(), Some("33:33"));
        assert_eq!(*config.volumes(), texts(&["/data", "/more"]));
        assert_eq!(config.working_dir().as_deref(), Some("/srv/www"));
    }

    #[test]
    fn what_is_no_instruction_is_refused() {
        refuse("RUN make", Invalid::Unknown);
        refuse("", Invalid::Unknown);
        refuse("CMD", Invalid::NoValue);
        refuse("ENV A", Invalid::Pair);
        refuse("ENV A=1 B", Invalid::Pair);
        refuse("ENV =1", Invalid::Pair);
        refuse("LABEL a=\"b", Invalid::Quote);
        refuse("EXPOSE 0", Invalid::Port);
        refuse("EXPOSE 80/icmp", Invalid::Port);
        refuse("EXPOSE http", Invalid::Port);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(CMD|ENV|EXPOSE|LABEL|VOLUME|WORKDIR)? ?\\PC{0,40}") {
            drop(apply(&[text]));
        }
    }

    fn made(changes: &[&str]) -> Config {
        apply(&changes.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[track_caller]
    fn refuse(text: &str, why: Invalid) {
        let mut config = Config::default();
        assert_eq!(change(&mut config, text), Err(why), "{text}");
    }
}
