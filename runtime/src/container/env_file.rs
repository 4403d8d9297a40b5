//! `--env-file`: one variable a line, in Docker's form: no quotes, no expansion.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// All of all files, in their order, as `-e` takes them.
pub fn read(files: &[PathBuf]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.split(" (os error").next().unwrap_or(&reason).to_lowercase();
            Error::Usage(format!("open {}: {reason}", file.display()))
        })?;
        all.extend(parse(file, &bytes).map_err(Error::Usage)?);
    }
    Ok(all)
}

fn parse(file: &Path, bytes: &[u8]) -> Result<Vec<String>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut all = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let at = || format!("{} line {}", file.display(), index + 1);
        let line = str::from_utf8(line)
            .map_err(|_not_text| format!("env file {} contains invalid utf8 bytes", at()))?;
        let line = line.trim_end_matches('\r').trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.contains('\0') {
            return Err(format!("{} holds a zero byte", at()));
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() {
            return Err(format!("poorly formatted environment: no variable name on line '{line}'"));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!(
                "poorly formatted environment: variable '{name}' contains whitespaces"
            ));
        }
        all.push(line.to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_variables() {
        let check = |text: &[u8], want: Result<&[&str], &str>| {
            let want = want.map(|all| all.iter().map(|&one| one.to_owned()).collect());
            let got = parse(Path::new("f"), text);
            assert_eq!(got, want.map_err(str::to_owned), "{}", String::from_utf8_lossy(text));
        };
        check(b"A=1\nB=x y\n# no\n\n  C=\r\nD", Ok(&["A=1", "B=x y", "C=", "D"]));
        check(b"\xef\xbb\xbfA=\"1\"", Ok(&["A=\"1\""]));
        check(b"=x", Err("poorly formatted environment: no variable name on line '=x'"));
        check(b"a b=1", Err("poorly formatted environment: variable 'a b' contains whitespaces"));
        check(b"A=1\nB=\xff", Err("env file f line 2 contains invalid utf8 bytes"));
        check(b"A=\0", Err("f line 1 holds a zero byte"));
        let missing = read(&["/nosuch/file".into()]).unwrap_err().to_string();
        assert_eq!(missing, "open /nosuch/file: no such file or directory");
    }
}
