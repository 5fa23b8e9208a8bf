//! Which server to talk to and with which key, and where that was found.
//!
//! The server: `--server`, else `CLAWRK_API_URL`, else the credentials file, else this machine.
//! The key: `CLAWRK_API_KEY`, else the credentials file. A key from the file goes only to the server
//! that the file names; it is read only when nobody else could have read it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use crate::environment::Environment;
use crate::failure::{Exit, Failure};

const DEFAULT_SERVER: &str = "http://127.0.0.1:3000";
const CREDENTIALS: &str = "credentials.json";
/// No credentials file is larger than this, in bytes.
const CREDENTIALS_LIMIT: u64 = 64 << 10;

/// Where a setting was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// On the command line.
    Flag,
    /// In an environment variable.
    Environment,
    /// In the credentials file.
    Credentials,
    /// Nowhere: it is what we take when nobody says.
    Default,
}

/// An API key.
#[derive(Clone)]
pub(crate) struct Key {
    /// The key itself, visible ASCII.
    pub(crate) text: String,
    /// Where it was found.
    pub(crate) source: Source,
}

/// The server, the key and the folder of our own files.
pub(crate) struct Settings {
    /// The server's address, `http` or `https`.
    pub(crate) server: Url,
    /// Where that was found.
    pub(crate) server_source: Source,
    /// The key, if there is one for that server.
    pub(crate) key: Option<Key>,
    /// The folder of the credentials and state files.
    pub(crate) folder: Option<PathBuf>,
    /// The server that the credentials file's key is for, when that is another one.
    pub(crate) key_elsewhere: Option<Url>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    api_url: Option<String>,
    api_key: Option<String>,
}

impl Settings {
    /// Finds out the server and the key.
    pub(crate) fn discover(flag: Option<&str>, environment: &Environment) -> Result<Self, Failure> {
        let said = flag
            .map(|url| (url, Source::Flag))
            .or(environment.api_url.as_deref().map(|url| (url, Source::Environment)));
        let file = match (&environment.folder, said.is_some() && environment.api_key.is_some()) {
            (Some(folder), false) => read_credentials(&folder.join(CREDENTIALS))?,
            _ => None,
        };
        let filed_server = file.as_ref().map(|file| file.api_url.as_deref().unwrap_or(DEFAULT_SERVER));
        let (server, server_source) =
            said.or(filed_server.map(|url| (url, Source::Credentials))).unwrap_or((DEFAULT_SERVER, Source::Default));
        let server = server_url(server)?;
        let filed_server = filed_server.map(server_url).transpose()?;
        let filed_key =
            file.and_then(|file| file.api_key).map(|text| text.trim().to_owned()).filter(|key| !key.is_empty());
        let mut key_elsewhere = None;
        let key = match (&environment.api_key, filed_key, filed_server) {
            (Some(text), ..) => Some(Key { text: text.clone(), source: Source::Environment }),
            (None, Some(text), Some(filed)) if filed == server => Some(Key { text, source: Source::Credentials }),
            (None, Some(_), filed) => {
                key_elsewhere = filed;
                None
            }
            _ => None,
        };
        if key.as_ref().is_some_and(|key| !key.text.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Failure::new(Exit::NotSignedIn, "malformed_key", "The API key has characters that no key has")
                .hint("copy the key again: it is one word that begins with clawrk_"));
        }
        Ok(Self { server, server_source, key, folder: environment.folder.clone(), key_elsewhere })
    }

    /// The failure of a command that needs a key when there is none.
    pub(crate) fn not_signed_in(&self) -> Failure {
        let failure = |message: String| Failure::new(Exit::NotSignedIn, "not_signed_in", message);
        match &self.key_elsewhere {
            Some(other) => failure(format!("The key in {CREDENTIALS} is for {other}, not for {}", self.server))
                .hint("set CLAWRK_API_KEY to a key of this server, or leave out --server and CLAWRK_API_URL"),
            None => failure(format!("You are not signed in at {}", self.server)).hint(NO_KEY_HINT),
        }
    }
}

/// What to do without a key.
const NO_KEY_HINT: &str = "set CLAWRK_API_KEY to your API key; the operator of the server makes one with \
    `clawrk admin user create --name NAME`";

/// Reads a server's address.
fn server_url(text: &str) -> Result<Url, Failure> {
    let wrong = |problem: &str| {
        Failure::usage(format!("{text:?} is not a server's address: {problem}"))
            .hint(format!("write it like {DEFAULT_SERVER}"))
    };
    let mut url: Url = text.parse().map_err(|_| wrong("it is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("it does not begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it holds a user name or a password"));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// Reads the credentials file; none when there is no such file.
fn read_credentials(path: &Path) -> Result<Option<Credentials>, Failure> {
    let refuse = |problem: String, hint: String| {
        Failure::new(Exit::NotSignedIn, "unsafe_credentials", format!("{} {problem}", path.display())).hint(hint)
    };
    let unreadable =
        |error: std::io::Error| refuse(format!("cannot be read: {error}"), "check who owns the file".into());
    let named = match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        named => named.map_err(unreadable)?,
    };
    if !named.is_file() {
        let hint = "put the key into a plain file there, with mode 0600";
        return Err(refuse("is a symbolic link or not a file, so it is not read".into(), hint.into()));
    }
    let file = File::open(path).map_err(unreadable)?;
    let opened = file.metadata().map_err(unreadable)?;
    // What was opened must be what was looked at: the name may have been turned into a link in between.
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(refuse("changed while it was opened".into(), "try again".into()));
    }
    if opened.mode() & 0o077 != 0 {
        let problem =
            format!("can be read or written by others (mode {:04o}), so its key is not used", opened.mode() & 0o7777);
        let hint = format!("run `chmod 600 {}`, and replace the key if others may have read it", path.display());
        return Err(refuse(problem, hint));
    }
    let mut text = String::new();
    file.take(CREDENTIALS_LIMIT).read_to_string(&mut text).map_err(unreadable)?;
    let hint = "it looks like {\"api_url\": \"https://…\", \"api_key\": \"clawrk_…\"}";
    let credentials = serde_json::from_str(&text).map_err(|error| {
        refuse(format!("is not as expected: line {}, column {}", error.line(), error.column()), hint.into())
    })?;
    Ok(Some(credentials))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn folder_with(text: &str, mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CREDENTIALS);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn environment(folder: &Path) -> Environment {
        Environment { folder: Some(folder.to_owned()), ..Environment::default() }
    }

    const FILED: &str = r#"{"api_url":"https://work.example","api_key":"clawrk_filed"}"#;

    #[test]
    fn the_file_names_server_and_key() {
        let folder = folder_with(FILED, 0o600);
        let settings = Settings::discover(None, &environment(folder.path())).unwrap();
        assert_eq!(settings.server.as_str(), "https://work.example/");
        assert_eq!(settings.server_source, Source::Credentials);
        assert_eq!(settings.key.unwrap().text, "clawrk_filed");
    }

    #[test]
    fn a_filed_key_goes_to_no_other_server() {
        let folder = folder_with(FILED, 0o600);
        let settings = Settings::discover(Some("https://other.example"), &environment(folder.path())).unwrap();
        assert!(settings.key.is_none());
        assert!(settings.not_signed_in().message.contains("work.example"));
        let same = Settings::discover(Some("https://work.example/"), &environment(folder.path())).unwrap();
        assert!(same.key.is_some());
    }

    #[test]
    fn the_environment_outranks_the_file_and_the_flag_the_environment() {
        let folder = folder_with(FILED, 0o600);
        let mut environment = environment(folder.path());
        environment.api_key = Some("clawrk_env".into());
        environment.api_url = Some("https://env.example".into());
        let settings = Settings::discover(None, &environment).unwrap();
        assert_eq!((settings.server.host_str(), settings.server_source), (Some("env.example"), Source::Environment));
        assert_eq!(settings.key.unwrap().text, "clawrk_env");
        let flagged = Settings::discover(Some("http://flag.example"), &environment).unwrap();
        assert_eq!((flagged.server.host_str(), flagged.server_source), (Some("flag.example"), Source::Flag));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        for mode in [0o644, 0o640, 0o602] {
            let folder = folder_with(FILED, mode);
            let failure = Settings::discover(None, &environment(folder.path())).err().unwrap();
            assert_eq!((failure.exit, &*failure.code), (Exit::NotSignedIn, "unsafe_credentials"), "{mode:o}");
        }
    }

    #[test]
    fn a_link_is_refused() {
        let real = folder_with(FILED, 0o600);
        let folder = tempfile::tempdir().unwrap();
        symlink(real.path().join(CREDENTIALS), folder.path().join(CREDENTIALS)).unwrap();
        let failure = Settings::discover(None, &environment(folder.path())).err().unwrap();
        assert!(failure.message.contains("symbolic link"), "{}", failure.message);
    }

    #[test]
    fn nothing_anywhere_is_this_machine_without_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::discover(None, &environment(folder.path())).unwrap();
        assert_eq!((settings.server.as_str(), settings.server_source), ("http://127.0.0.1:3000/", Source::Default));
        assert_eq!(settings.not_signed_in().exit, Exit::NotSignedIn);
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for text in ["localhost:3000", "ftp://x", "nonsense", "", "https://user:pw@host", "http://"] {
            assert_eq!(server_url(text).err().map(|failure| failure.exit), Some(Exit::Usage), "{text}");
        }
    }
}
