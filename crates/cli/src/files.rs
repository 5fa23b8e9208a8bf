//! Files on their way to an exchange and back: `--attach`, and `download`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use clawrk_domain::{limits, upload};
use serde_json::{Value, json};

use crate::client::{Client, parse_id};
use crate::failure::Failure;
use crate::output::{Output, Tone};

/// Arguments of `download`.
#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// The file's id, as `show` lists it
    #[arg(value_parser = parse_id)]
    id: String,
    /// Where to put it; in this folder under its own name if you leave it out
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
        let name = path.file_name().map(|name| upload::safe_name(&name.to_string_lossy())).unwrap_or_default();
        let unreadable = |error: std::io::Error| {
            Failure::failed("unreadable_file", format!("{} cannot be read: {error}", path.display()))
        };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let answer = client.upload(&name, kind(path), &bytes).await?;
        ids.push(answer.get("id").cloned().ok_or_else(|| client.unexpected("it names no file"))?);
    }
    Ok(ids)
}

/// What a file is by its ending.
fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase().as_str() {
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        _ => upload::BYTES,
    }
}

/// `download`: a file of a job, under a harmless name.
pub(crate) async fn download(args: DownloadArgs, client: &Client, out: &Output) -> Result<(), Failure> {
    let (name, mut incoming) = client.download(&args.id).await?;
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
    fn what_is_there_is_kept_unless_the_user_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(open(&path, false).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert!(open(&path, true).is_ok());
    }
}
