//! Where uploaded files go: a folder, or a bucket of S3 and whatever speaks as it does. A half configuration is refused.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::{ConfigError, MASK, invalid};

/// Where uploaded files are kept.
#[derive(Debug, Clone)]
pub enum UploadPlace {
    /// A folder.
    Folder(PathBuf),
    /// A bucket.
    S3(S3Setting),
}

/// A bucket, and the keys to it; printed, they are masked.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Setting {
    /// The bucket's name.
    pub bucket: String,
    /// What the names of all objects begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The provider's address; none for Amazon's own.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The key's public half, which is kept to ourselves all the same.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
}

impl fmt::Debug for S3Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Setting")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key", &MASK)
            .field("secret_key", &MASK)
            .finish()
    }
}

impl fmt::Display for UploadPlace {
    /// As `upload_url` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::S3(S3Setting { bucket, prefix, .. }) if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3(S3Setting { bucket, prefix, .. }) => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl UploadPlace {
    /// Reads the settings; several nodes have no folder in common unless one is given.
    pub(super) fn read(optional: &impl Fn(&'static str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        let url = optional("upload_url").unwrap_or_default();
        if let Some(place) = url.strip_prefix("s3://") {
            return Ok(Some(Self::S3(S3Setting::read(place, &url, optional)?)));
        }
        if url.contains("://") {
            return Err(invalid("upload_url", "a folder or s3://BUCKET/PREFIX", shown(&url)));
        }
        for name in ["upload_s3_endpoint", "upload_s3_access_key", "upload_s3_secret_key"] {
            if optional(name).is_some() {
                return Err(invalid(name, "left out unless upload_url is s3://BUCKET/PREFIX", MASK));
            }
        }
        let data_dir = || PathBuf::from(optional("data_dir").unwrap_or_default());
        let beside = || optional("database_url").is_none().then(|| data_dir().join("uploads"));
        let folder = if url.is_empty() { beside() } else { Some(Path::new(&url).to_owned()) };
        Ok(folder.map(Self::Folder))
    }
}

impl S3Setting {
    fn read(place: &str, url: &str, optional: &impl Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !is_bucket(bucket) || !prefix.is_empty() && !prefix.split('/').all(is_segment) {
            let needs = "s3://BUCKET or s3://BUCKET/PREFIX, of letters, digits, dots, dashes and underscores";
            return Err(invalid("upload_url", needs, shown(url)));
        }
        let both = "given, and so must the other of upload_s3_access_key and upload_s3_secret_key, for s3://";
        let key = |name| optional(name).ok_or_else(|| invalid(name, both, ""));
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: optional("upload_s3_endpoint").map(endpoint).transpose()?,
            region: region(optional("upload_s3_region").unwrap_or_default())?,
            access_key: key("upload_s3_access_key")?,
            secret_key: key("upload_s3_secret_key")?,
        })
    }
}

fn region(text: String) -> Result<String, ConfigError> {
    let is_region = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_region { Ok(text) } else { Err(invalid("upload_s3_region", "a region, such as us-east-1", &text)) }
}

fn endpoint(text: String) -> Result<String, ConfigError> {
    let is_plain = |url: &Url| {
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        is_http && is_bare && url.username().is_empty() && url.password().is_none()
    };
    match Url::parse(&text) {
        Ok(url) if is_plain(&url) => Ok(text.trim_end_matches('/').to_owned()),
        _ => {
            let needs = "an address without a path, such as https://s3.example.com or http://127.0.0.1:9000";
            Err(invalid("upload_s3_endpoint", needs, shown(&text)))
        }
    }
}

/// An address as an error shows it: one with an `@` may hold a key.
fn shown(url: &str) -> &str {
    if url.contains('@') { MASK } else { url }
}

fn is_bucket(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    (3..=63).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.') && !name.contains("..")
}

fn is_segment(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.chars().all(plain) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&'static str, &str)]) -> Result<Option<UploadPlace>, ConfigError> {
        UploadPlace::read(&|name| {
            let default = (name == "upload_s3_region").then(|| "us-east-1".to_owned());
            given.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()).or(default)
        })
    }

    const KEYS: [(&str, &str); 2] = [("upload_s3_access_key", "canary-a"), ("upload_s3_secret_key", "canary-b")];

    #[test]
    fn a_bucket_is_read_and_its_keys_are_masked() {
        let given =
            [("upload_url", "s3://files/up/load/"), ("upload_s3_endpoint", "http://127.0.0.1:9/"), KEYS[0], KEYS[1]];
        let place = read(&given).unwrap().unwrap();
        assert_eq!(place.to_string(), "s3://files/up/load");
        let UploadPlace::S3(s3) = place else { panic!("it is a bucket") };
        assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("files", "up/load"));
        assert_eq!((s3.endpoint.as_deref(), s3.region.as_str()), (Some("http://127.0.0.1:9"), "us-east-1"));
        assert_eq!((s3.access_key.as_str(), s3.secret_key.as_str()), ("canary-a", "canary-b"));
        assert!(!format!("{s3:?} {s3:#?}").contains("canary"), "{s3:?}");
    }

    #[test]
    fn half_a_bucket_is_refused_and_says_what_is_missing() {
        let bucket = ("upload_url", "s3://files");
        let wrong: [(&[(&str, &str)], &str); 9] = [
            (&[bucket, KEYS[0]], "upload_s3_secret_key must be given"),
            (&[bucket, KEYS[1]], "upload_s3_access_key must be given"),
            (&[KEYS[0]], "upload_s3_access_key must be left out"),
            (&[("upload_s3_endpoint", "http://h")], "upload_s3_endpoint must be left out"),
            (&[("upload_url", "s3://"), KEYS[0], KEYS[1]], "upload_url must be"),
            (&[("upload_url", "s3://files/a/../b"), KEYS[0], KEYS[1]], "upload_url must be"),
            (&[("upload_url", "s3://canary:canary@files"), KEYS[0], KEYS[1]], "upload_url must be"),
            (&[("upload_url", "gs://files")], "upload_url must be"),
            (&[bucket, ("upload_s3_endpoint", "h:9000"), KEYS[0], KEYS[1]], "upload_s3_endpoint must be"),
        ];
        for (given, says) in wrong {
            let error = read(given).unwrap_err().to_string();
            assert!(error.starts_with(says) && !error.contains("canary"), "{error}");
        }
    }
}
