//! Files on their way to an exchange and back: `--attach`, and `download`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use clawrk_domain::{limits, upload};
use serde_json::{Value, json};

use crate::client::{Client, Following, parse_id};
use crate::failure::Failure;
use crate::form::Form;
use crate::output::{Output, Shape, Tone, clean};

/// The longest text that is shown on a terminal, in bytes.
const SHOWN_BYTES: usize = 1 << 20;

/// Arguments of `download`.
#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// The file's id, as `show` lists it
    #[arg(value_parser = parse_id)]
    id: String,
    /// Where to put it, `-` for stdout; in this folder under its own name if you leave it out
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Put it in the place of a file that is there
    #[arg(long)]
    overwrite: bool,
}

/// Uploads these files, one after the other; their ids.
pub(crate) async fn upload_all(client: &Client, paths: &[PathBuf]) -> Result<Vec<Value>, Failure> {
    if paths.len() > limits::FILES {
        return Err(Failure::usage(format!("At most {} files can be attached", limits::FILES)));
    }
    let mut ids = Vec::with_capacity(paths.len());
    for path in paths {
        let answer = client.upload(&Form::of(path)?).await?;
        ids.push(answer.get("id").cloned().ok_or_else(|| client.unexpected("it names no file"))?);
    }
    Ok(ids)
}

/// `download`: a file of a job, under a harmless name.
pub(crate) async fn download(args: DownloadArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let is_aside = args.output.as_deref() == Some(Path::new("-"));
    if is_aside && out.is_json() {
        return Err(Failure::usage("With -o - the file is on stdout, where --json would put what it says"));
    }
    let (name, mut incoming) = client.download(&args.id).await?;
    if is_aside {
        return if out.is_on_terminal() { show(incoming, out).await } else { pass_on(incoming, out).await };
    }
    let path = args.output.unwrap_or_else(|| PathBuf::from(upload::safe_name(&name)));
    let fail = |error: std::io::Error| {
        Failure::failed("unwritable_file", format!("{} cannot be written: {error}", path.display()))
    };
    let mut file = open(&path, args.overwrite).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::failed("file_exists", format!("{} is there already", path.display()))
            .hint("choose another name with -o FILE, or add --overwrite"),
        _ => fail(error),
    })?;
    let mut size = 0;
    let whole = async {
        while let Some(bytes) = incoming.next().await? {
            file.write_all(&bytes).map_err(fail)?;
            size += bytes.len();
        }
        Ok(())
    };
    if let Err(failure) = whole.await {
        // A part of a file would be taken for the whole.
        drop(std::fs::remove_file(&path));
        return Err(failure);
    }
    if out.is_json() {
        out.document(&json!({ "id": args.id, "path": path.display().to_string(), "size": size }));
    } else {
        out.line(&[(&path.display().to_string(), Tone::Plain)]);
    }
    Ok(())
}

/// A file goes to whatever program reads stdout.
async fn pass_on(mut incoming: Following<'_>, out: &Output) -> Result<(), Failure> {
    while let Some(bytes) = incoming.next().await? {
        out.bytes(&bytes);
    }
    Ok(())
}

/// A file is shown on a terminal, if it is a text that does nothing to it.
async fn show(mut incoming: Following<'_>, out: &Output) -> Result<(), Failure> {
    let mut file = Vec::new();
    while let Some(bytes) = incoming.next().await? {
        file.extend_from_slice(&bytes);
        if file.len() > SHOWN_BYTES {
            return Err(not_shown("is too long for a terminal"));
        }
    }
    let text = harmless(&file).ok_or_else(|| not_shown("is no plain text, and could do harm to a terminal"))?;
    out.text(text);
    Ok(())
}

fn not_shown(why: &str) -> Failure {
    let failure = Failure::failed("not_shown", format!("The file {why}"));
    failure.hint("choose a name with -o FILE, or lead it to a program: clawrk download ID -o - | less")
}

/// The text that these bytes are, if none of it steers a terminal or cannot be seen.
fn harmless(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| clean(text, Shape::Lines) == text.replace("\r\n", "\n"))
}

fn open(path: &Path, overwrite: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    if overwrite {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_plain_text_and_nothing_else() {
        for text in ["", "one\ttwo\r\nthree\n", "日本 é ✔"] {
            assert_eq!(harmless(text.as_bytes()), Some(text));
        }
        for bytes in [&b"a\x1b[2Jb"[..], b"\0", b"\xff\xfe", "a\u{202e}b".as_bytes(), b"over\rwritten", b"\x7fELF"] {
            assert_eq!(harmless(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_there_is_kept_unless_the_user_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(open(&path, false).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert!(open(&path, true).is_ok());
    }
}
