//! Texts that a command takes: as an argument, from a file, or from stdin.

use std::fs::File;
use std::io::Read;

use crate::failure::Failure;

/// No text that the exchange takes is larger than this, in bytes.
const LIMIT: u64 = 4 << 20;

/// Reads a text from a file, or from stdin when the file is `-`.
pub(crate) fn read_file(path: &str) -> Result<String, Failure> {
    let name = if path == "-" { "stdin" } else { path };
    let trouble = |error: std::io::Error| Failure::usage(format!("Cannot read {name}: {error}"));
    let mut bytes = Vec::new();
    if path == "-" {
        std::io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes).map_err(trouble)?;
    } else {
        File::open(path).map_err(trouble)?.take(LIMIT + 1).read_to_end(&mut bytes).map_err(trouble)?;
    }
    if bytes.len() as u64 > LIMIT {
        return Err(Failure::usage(format!("{name} is larger than 4 MiB")));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{name} is not UTF-8 text")))
}

/// A text that was given as itself or as a file.
pub(crate) fn either(text: Option<String>, file: Option<&str>) -> Result<Option<String>, Failure> {
    match file {
        Some(file) => read_file(file).map(Some),
        None => Ok(text),
    }
}

/// Asks before something that cannot be undone, unless `yes` says it is meant.
pub(crate) fn confirm(out: &crate::output::Output, yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    must_ask(out)?;
    if out.ask(question) { Ok(()) } else { Err(Failure::failed("declined", "Nothing was done.")) }
}

/// The failure of a command that has to ask where nobody can answer.
pub(crate) fn must_ask(out: &crate::output::Output) -> Result<(), Failure> {
    if out.can_ask() {
        return Ok(());
    }
    Err(Failure::usage("This has to be confirmed, and there is no terminal to ask on").hint("add -y to confirm it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "a\r\nb\n").unwrap();
        assert_eq!(read_file(path.to_str().unwrap()).unwrap(), "a\r\nb\n");
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_file(path.to_str().unwrap()).unwrap_err().message.contains("UTF-8"));
        std::fs::write(&path, vec![b'a'; (4 << 20) + 1]).unwrap();
        assert!(read_file(path.to_str().unwrap()).unwrap_err().message.contains("4 MiB"));
        assert!(read_file("/nowhere/at/all").is_err());
    }
}
