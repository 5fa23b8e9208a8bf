//! A file in the form that an exchange takes it in, sent as it is read: never more of it in memory than a piece.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clawrk_domain::upload;
use futures_util::{Stream, StreamExt, stream};
use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, Take};

use crate::environment;
use crate::failure::Failure;

/// How much of a file is read together, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// A form with one file, which can be sent more than once.
#[derive(Debug)]
pub(crate) struct Form {
    path: PathBuf,
    /// What came out of a pipe is read once, so it is kept as long as it may have to be sent again.
    kept: Option<NamedTempFile>,
    size: u64,
    edge: String,
    head: String,
    tail: String,
}

/// A file could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {source}", path.display())]
pub(crate) struct Unreadable {
    path: PathBuf,
    source: std::io::Error,
}

impl Form {
    /// The form for a file that is there.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        let unreadable = |source| told(&Unreadable { path: path.to_owned(), source });
        let found = std::fs::metadata(path).map_err(unreadable)?;
        let kept = if found.is_file() { None } else { Some(gathered(path).map_err(unreadable)?) };
        let size = kept.as_ref().map_or(Ok(found), |kept| kept.as_file().metadata()).map_err(unreadable)?.len();
        let name = path.file_name().map(|name| upload::safe_name(&name.to_string_lossy())).unwrap_or_default();
        let (edge, kind) = (format!("clawrk-{}", environment::random_name()), kind(path));
        // A name that was made safe has neither quotes nor line ends.
        let head = format!(
            "--{edge}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
        );
        let tail = format!("\r\n--{edge}--\r\n");
        Ok(Self { path: path.to_owned(), kept, size, edge, head, tail })
    }

    /// The `Content-Type` of the request.
    pub(crate) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.edge)
    }

    /// The whole form, in bytes.
    pub(crate) const fn length(&self) -> u64 {
        self.head.len() as u64 + self.size + self.tail.len() as u64
    }

    /// The form from its start, piece by piece: as many bytes as were announced, or an error.
    pub(crate) async fn pieces(&self) -> Result<impl Stream<Item = Result<Vec<u8>, Unreadable>> + use<>, Failure> {
        let (path, size) = (self.path.clone(), self.size);
        let place = self.kept.as_ref().map_or(self.path.as_path(), NamedTempFile::path);
        let opened = File::open(place).await;
        let file = opened.map_err(|source| told(&Unreadable { path: path.clone(), source }))?.take(size);
        let file = stream::try_unfold((file, size), move |(file, left)| {
            let path = path.clone();
            async move { next(file, left).await.map_err(|source| Unreadable { path, source }) }
        });
        let (head, tail) = (self.head.clone().into_bytes(), self.tail.clone().into_bytes());
        Ok(stream::iter([Ok(head)]).chain(file).chain(stream::iter([Ok(tail)])))
    }
}

type Rest = (Vec<u8>, (Take<File>, u64));

/// The next piece of a file of which so much is left; a file that became shorter ends with an error.
async fn next(mut file: Take<File>, left: u64) -> std::io::Result<Option<Rest>> {
    if left == 0 {
        return Ok(None);
    }
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let read = file.read_buf(&mut piece).await?;
    if read == 0 {
        return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "it became shorter meanwhile"));
    }
    Ok(Some((piece, (file, left - read as u64))))
}

/// All that comes out of a pipe, or whatever else is no file.
fn gathered(path: &Path) -> std::io::Result<NamedTempFile> {
    let mut kept = NamedTempFile::new()?;
    std::io::copy(&mut std::fs::File::open(path)?, &mut kept)?;
    Ok(kept)
}

/// The failure of a request whose file could not be read, if that is what it is about.
pub(crate) fn unreadable(error: &reqwest::Error) -> Option<Failure> {
    let mut causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.find_map(|error| error.downcast_ref::<Unreadable>()).map(told)
}

fn told(error: &Unreadable) -> Failure {
    Failure::failed("unreadable_file", error.to_string())
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures_util::TryStreamExt;

    use super::*;

    async fn sent(form: &Form) -> Result<Vec<u8>, String> {
        let pieces = form.pieces().await.map_err(|failure| failure.message)?;
        let pieces: Vec<Vec<u8>> = pieces.try_collect().await.map_err(|error| error.to_string())?;
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES));
        Ok(pieces.concat())
    }

    #[tokio::test]
    async fn a_form_has_the_length_that_it_announces_whenever_it_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        for size in [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 7] {
            let path = folder.path().join("a.csv");
            std::fs::write(&path, vec![b'~'; size]).unwrap();
            let form = Form::of(&path).unwrap();
            let first = sent(&form).await.unwrap();
            assert_eq!(first.len() as u64, form.length());
            let text = String::from_utf8(first.clone()).unwrap();
            assert!(text.contains("filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\n") && text.ends_with("--\r\n"));
            assert_eq!(text.matches('~').count(), size);
            assert_eq!(sent(&form).await.unwrap(), first, "it can be sent again");
        }
    }

    #[tokio::test]
    async fn a_file_that_changes_on_its_way_is_sent_as_announced_or_not_at_all() {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(b"12345").unwrap();
        let form = Form::of(file.path()).unwrap();
        file.write_all(b"678").unwrap();
        let grown = sent(&form).await.unwrap();
        assert_eq!(grown.len() as u64, form.length());
        file.as_file().set_len(3).unwrap();
        assert!(sent(&form).await.unwrap_err().contains("it became shorter meanwhile"));
        assert!(Form::of(Path::new("/")).unwrap_err().message.starts_with("/ cannot be read"));
    }
}
