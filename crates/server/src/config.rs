//! Every setting of the server: a flag, an environment variable, or a line of `clawrk.toml`, in that order.
//!
//! [`KEYS`] is the one table; flags, variables, the file and `clawrk config` are all made from it.
//! Secrets can also come from a file: `<key>_file` names it.

mod embedding;
mod llm;
mod stripe;
mod uploads;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clawrk_domain::{Cents, Policy};

use crate::outside::sandbox::SandboxSetting;
use crate::telemetry::LogFormat;

pub use embedding::Embedding;
pub use llm::{LlmSetting, Provider, SecondModel};
pub use stripe::StripeSetting;
pub use uploads::{S3Setting, UploadPlace};

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name in `clawrk.toml`; the flag has dashes, the variable is `CLAWRK_` and capitals.
    pub name: &'static str,
    /// What it is when nobody says; empty for nothing.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Never shown.
    pub secret: bool,
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, default, meaning, secret: false }
}

const fn secret(name: &'static str, meaning: &'static str) -> Key {
    Key { name, default: "", meaning, secret: true }
}

/// Every setting there is.
pub const KEYS: [Key; 37] = [
    key("listen", "127.0.0.1:3000", "Address and port to listen on"),
    key(
        "public_url",
        "",
        "The address that others reach the server at, for the way back from Stripe's pages; http://LISTEN if left out",
    ),
    key("data_dir", "./clawrk-data", "Folder of the database and the secret key"),
    secret("database_url", "postgres://… instead of SQLite in data_dir; any number of nodes may share it"),
    secret(
        "secret_key",
        "Encrypts variables and kept answers; made in data_dir on the first start, required with PostgreSQL",
    ),
    secret(
        "secret_key_previous",
        "The secret_key of before, for `clawrk admin rotate-secret`; several are on a line each",
    ),
    key("hold_seconds", "30", "How long an agent may think about a job it holds"),
    key("max_attempts", "3", "Attempts before a job fails and the sender has the money back"),
    key("fee_bps", "2000", "The fee's share of the price, in hundredths of a percent"),
    key("fee_flat_cents", "50", "The fee's flat part, in cents"),
    key("review_window_seconds", "259200", "How long a sender may review a submission before it passes by itself"),
    key("log_format", "text", "text or json"),
    key("upload_max_bytes", "26214400", "The largest file that may be uploaded, in bytes"),
    key("upload_quota_bytes", "1073741824", "What the files of one user may have together, in bytes"),
    key(
        "upload_url",
        "",
        "Where uploaded files are kept: a folder, or s3://BUCKET/PREFIX; uploads in data_dir if empty; with PostgreSQL it must \
         be given, one that all nodes share",
    ),
    key("upload_s3_endpoint", "", "Address of what speaks S3, such as http://127.0.0.1:9000; Amazon's own if left out"),
    key("upload_s3_region", "us-east-1", "The bucket's region"),
    secret("upload_s3_access_key", "Id of the key to the bucket"),
    secret("upload_s3_secret_key", "The key to the bucket"),
    secret(
        "stripe_secret_key",
        "Stripe's secret key; without one nothing is paid in or out, and the operator grants balance",
    ),
    secret("stripe_webhook_secret", "What Stripe signs its webhook with; several have commas between them"),
    key("stripe_api_url", "https://api.stripe.com", "Stripe's address"),
    key(
        "llm_provider",
        "openai",
        "How the LLM is spoken to: openai (and whatever answers as it does), anthropic or ollama",
    ),
    key("llm_url", "", "The LLM's address, such as http://127.0.0.1:8000/v1; the provider's own if left out"),
    key("llm_model", "", "The LLM's name; without one, prompts are read by rules and criteria by their sender"),
    secret("llm_api_key", "The LLM's key"),
    key(
        "llm_estimates_per_day",
        "200",
        "Estimates by the LLM that a user may have on a day (UTC); after them the rules estimate. 0 for none",
    ),
    key(
        "llm_verifications_per_day",
        "200",
        "Texts that a user may have looked at on a day (UTC) without a job; 0 for none",
    ),
    key("judge_second_model", "", "Another LLM of the same provider, which judges the submissions of dear jobs too"),
    key("judge_second_from_cents", "", "The price from which it does, in cents"),
    key("embed_dir", "", "Folder of an embedding model, for matching by meaning as well as by words"),
    key(
        "embed_url",
        "",
        "Address of an embedding model instead, as OpenAI speaks it, such as http://127.0.0.1:11434 or https://api.openai.com/v1",
    ),
    key("embed_model", "", "Name of the embedding model at embed_url"),
    secret("embed_api_key", "Key of the embedding model at embed_url"),
    key(
        "sandbox",
        "auto",
        "How command checks are confined: auto or bwrap (bubblewrap 0.8 or later), container (podman or docker, in \
         sandbox_image), or off to refuse them",
    ),
    key(
        "sandbox_image",
        "",
        "The image that commands run in with sandbox = \"container\"; it is on this machine already",
    ),
    key(
        "rate_limit_per_minute",
        "600",
        "Requests a minute a key may make, and a tenth of it an address without one (the connection's: forwarded headers \
         are not trusted); 0 for no limits",
    ),
];

/// Variables that begin with `CLAWRK_` and are no settings of the server.
const OTHER_VARIABLES: [&str; 5] = ["API_KEY", "API_URL", "HOME", "LOG", "CONFIG"];

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody said.
    Default,
    /// A line of `clawrk.toml`.
    File,
    /// An environment variable.
    Variable,
    /// A flag.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Variable => "environment",
            Self::Flag => "flag",
        })
    }
}

/// What is shown of a secret.
const MASK: &str = "********";

/// A shorter secret could be guessed, in characters.
const SECRET_LENGTH: usize = 32;

/// What the settings are read from; secrets among them, so it is not printed.
#[derive(Default)]
pub struct Sources {
    /// Flags by key name, such as `("listen", "127.0.0.1:0")`.
    pub flags: Vec<(String, String)>,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// The configuration file and its text.
    pub file: Option<(PathBuf, String)>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("{path}: {problem}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No such setting.
    #[error("unknown setting {name:?} in {path}: `clawrk config` lists all")]
    Unknown {
        /// What was written.
        name: String,
        /// Where.
        path: String,
    },
    /// A value is of the wrong kind or out of bounds.
    #[error("{name} must be {needs}, not {value:?}")]
    Invalid {
        /// Which setting.
        name: &'static str,
        /// What it must be.
        needs: &'static str,
        /// What it is; masked for secrets.
        value: String,
    },
    /// A secret's file cannot be read.
    #[error("{name}_file: {path} cannot be read: {problem}")]
    SecretFile {
        /// Which setting.
        name: &'static str,
        /// The file.
        path: String,
        /// Why.
        problem: String,
    },
}

/// The settings as they were given, each with where it came from.
#[derive(Clone)]
pub struct Settings {
    values: BTreeMap<&'static str, (String, Source)>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// The settings as the server uses them; printed, its secrets are masked.
#[derive(Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where files are kept.
    pub data_dir: PathBuf,
    /// PostgreSQL's URL; none for SQLite.
    pub database_url: Option<String>,
    /// The secret behind all sealing; none for one made in the data folder.
    pub secret_key: Option<String>,
    /// Secrets of before, which open what was sealed under them.
    pub previous_secrets: Vec<String>,
    /// The numbers of the rules.
    pub policy: Policy,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The embedding model; none for matching by words alone.
    pub embedding: Option<Embedding>,
    /// The language model; none for rules and reviews alone.
    pub llm: Option<LlmSetting>,
    /// How Stripe is reached; none where nothing is paid in or out.
    pub stripe: Option<StripeSetting>,
    /// Estimates by the language model that a user may have on a day.
    pub estimates_per_day: u32,
    /// Texts that a user may have verified on a day without a job.
    pub verifications_per_day: u32,
    /// How command checks are confined.
    pub sandbox: SandboxSetting,
    /// Where uploaded files are kept; none where they are refused.
    pub upload_place: Option<UploadPlace>,
    /// The largest file that may be uploaded, in bytes.
    pub upload_max_bytes: u64,
    /// Requests a minute with one key, and the measure of the other limits; 0 for none.
    pub requests_per_minute: u32,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(KEYS.iter().map(|key| (key.name, (self.shown(key), self.source(key.name))))).finish()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = |secret: &Option<String>| secret.as_ref().map(|_| MASK);
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("data_dir", &self.data_dir)
            .field("database_url", &masked(&self.database_url))
            .field("secret_key", &masked(&self.secret_key))
            .field("previous_secrets", &self.previous_secrets.len())
            .field("policy", &self.policy)
            .field("log_format", &self.log_format)
            .field("embedding", &self.embedding)
            .field("llm", &self.llm)
            .field("stripe", &self.stripe)
            .field("sandbox", &self.sandbox)
            .field("upload_place", &self.upload_place)
            .finish()
    }
}

impl Settings {
    /// Reads all sources; unknown keys of the file are errors, unknown variables are warnings.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let mut settings = Self {
            values: KEYS.iter().map(|key| (key.name, (key.default.to_owned(), Source::Default))).collect(),
            warnings: Vec::new(),
        };
        if let Some((path, text)) = &sources.file {
            settings.read_file(path, text)?;
        }
        for (name, value) in &sources.variables {
            let Some(name) = name.strip_prefix("CLAWRK_") else { continue };
            if !settings.set(&name.to_lowercase(), value.clone(), Source::Variable)?
                && !OTHER_VARIABLES.contains(&name)
                && !name.starts_with("TEST_")
            {
                settings.warnings.push(format!("CLAWRK_{name} is no setting: `clawrk config` lists all"));
            }
        }
        for (name, value) in &sources.flags {
            settings.set(name, value.clone(), Source::Flag)?;
        }
        Ok(settings)
    }

    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let shown = path.display().to_string();
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::File {
            path: shown.clone(),
            // Not the line itself: it may hold a secret.
            problem: match error.span() {
                Some(span) => format!("line {}: {}", text[..span.start].lines().count().max(1), error.message()),
                None => error.message().to_owned(),
            },
        })?;
        for (name, value) in table {
            let text = match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            };
            if !self.set(&name, text, Source::File)? {
                return Err(ConfigError::Unknown { name, path: shown });
            }
        }
        Ok(())
    }

    /// Sets a key, or a secret from the file that `<key>_file` names; false when there is no such key.
    fn set(&mut self, name: &str, value: String, source: Source) -> Result<bool, ConfigError> {
        if let Some(key) = KEYS.iter().find(|key| key.name == name) {
            self.values.insert(key.name, (value, source));
            return Ok(true);
        }
        let of_file =
            name.strip_suffix("_file").and_then(|name| KEYS.iter().find(|key| key.secret && key.name == name));
        let Some(key) = of_file else { return Ok(false) };
        let text = std::fs::read_to_string(&value).map_err(|error| ConfigError::SecretFile {
            name: key.name,
            path: value,
            problem: error.to_string(),
        })?;
        self.values.insert(key.name, (text.trim_end_matches(['\r', '\n']).to_owned(), source));
        Ok(true)
    }

    /// Where the key's value came from.
    pub fn source(&self, name: &str) -> Source {
        self.values.get(name).map_or(Source::Default, |(_, source)| *source)
    }

    /// The key's value as it may be shown: a secret is masked.
    pub fn shown(&self, key: &Key) -> String {
        let value = self.text(key.name);
        if key.secret && !value.is_empty() { MASK.to_owned() } else { value.to_owned() }
    }

    fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |(value, _)| value)
    }

    /// The settings as the server uses them.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let optional = |name: &'static str| Some(self.text(name).to_owned()).filter(|text| !text.is_empty());
        let database_url = optional("database_url");
        if database_url.as_ref().is_some_and(|url| !url.starts_with("postgres://") && !url.starts_with("postgresql://"))
        {
            return Err(invalid("database_url", "a postgres:// URL", MASK));
        }
        let secret_key = optional("secret_key");
        if secret_key.as_ref().is_some_and(|secret| secret.len() < SECRET_LENGTH) {
            return Err(invalid("secret_key", "at least 32 characters (openssl rand -hex 32 makes a good one)", MASK));
        }
        let previous_secrets: Vec<String> = self
            .text("secret_key_previous")
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        if previous_secrets.iter().any(|secret| secret.len() < SECRET_LENGTH) {
            return Err(invalid("secret_key_previous", "secrets of at least 32 characters, on a line each", MASK));
        }
        let listen = self.text("listen");
        let listen: SocketAddr = listen
            .parse()
            .map_err(|_| invalid("listen", "an IP address and a port, such as 127.0.0.1:3000", listen))?;
        Ok(Config {
            listen,
            data_dir: PathBuf::from(self.text("data_dir")),
            database_url,
            secret_key,
            previous_secrets,
            policy: Policy {
                hold_seconds: self.number("hold_seconds", 1, 86_400, "1 to 86400 seconds")?,
                max_attempts: self.number("max_attempts", 1, 100, "1 to 100")? as u32,
                fee_bps: self.number("fee_bps", 0, 10_000, "0 to 10000")? as u32,
                fee_flat: Cents(self.number("fee_flat_cents", 0, 100_000, "0 to 100000 cents")?),
                review_window_seconds: self.number("review_window_seconds", 1, 31_536_000, "1 to 31536000 seconds")?,
                has_judge: LlmSetting::read(&optional)?.is_some(),
                upload_quota_bytes: self.number("upload_quota_bytes", 0, i64::MAX, "0 or more bytes")?.unsigned_abs(),
            },
            log_format: match self.text("log_format") {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                other => return Err(invalid("log_format", "text or json", other)),
            },
            embedding: Embedding::read(&optional)?,
            llm: LlmSetting::read(&optional)?,
            stripe: StripeSetting::read(&optional, listen)?,
            estimates_per_day: self.number("llm_estimates_per_day", 0, 1_000_000, "0 to 1000000")? as u32,
            verifications_per_day: self.number("llm_verifications_per_day", 0, 1_000_000, "0 to 1000000")? as u32,
            sandbox: self.sandbox()?,
            upload_place: UploadPlace::read(&optional)?,
            upload_max_bytes: self.number("upload_max_bytes", 1, 1 << 30, "1 to 1073741824 bytes")?.unsigned_abs(),
            requests_per_minute: self.number("rate_limit_per_minute", 0, 1_000_000, "0 to 1000000")? as u32,
        })
    }

    fn sandbox(&self) -> Result<SandboxSetting, ConfigError> {
        let image = self.text("sandbox_image");
        // It stands among the flags of a program: it must not look like one of them.
        let is_name = image.starts_with(|first: char| first.is_ascii_alphanumeric())
            && image.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte));
        match self.text("sandbox") {
            "auto" => Ok(SandboxSetting::Auto),
            "bwrap" => Ok(SandboxSetting::Bubblewrap),
            "off" => Ok(SandboxSetting::Off),
            "container" if is_name => Ok(SandboxSetting::Container { image: image.to_owned() }),
            "container" => Err(invalid(
                "sandbox_image",
                "the name of an image that is on this machine, such as docker.io/library/python:3.13-slim, because sandbox is \
                 container",
                image,
            )),
            other => Err(invalid("sandbox", "auto, bwrap, container or off", other)),
        }
    }

    fn number(&self, name: &'static str, least: i64, most: i64, needs: &'static str) -> Result<i64, ConfigError> {
        let text = self.text(name);
        let number: Option<i64> = text.parse().ok();
        number.filter(|number| (least..=most).contains(number)).ok_or_else(|| invalid(name, needs, text))
    }
}

fn invalid(name: &'static str, needs: &'static str, value: &str) -> ConfigError {
    ConfigError::Invalid { name, needs, value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> Sources {
        let owned = |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Sources {
            flags: owned(flags),
            variables: owned(variables),
            file: (!file.is_empty()).then(|| ("clawrk.toml".into(), file.to_owned())),
        }
    }

    #[test]
    fn flags_outrank_variables_outrank_the_file() {
        let file = "hold_seconds = 5\nmax_attempts = 5\nfee_bps = 5";
        let variables = [("CLAWRK_HOLD_SECONDS", "6"), ("CLAWRK_MAX_ATTEMPTS", "6"), ("HOME", "/root")];
        let settings = Settings::read(&sources(&[("hold_seconds", "7")], &variables, file)).unwrap();
        let policy = settings.config().unwrap().policy;
        assert_eq!((policy.hold_seconds, policy.max_attempts, policy.fee_bps), (7, 6, 5));
        assert!(settings.warnings.is_empty());
    }

    #[test]
    fn unknown_file_keys_are_errors_and_unknown_variables_warnings() {
        let error = Settings::read(&sources(&[], &[], "holdseconds = 5")).unwrap_err();
        assert!(error.to_string().contains("holdseconds"), "{error}");
        let settings =
            Settings::read(&sources(&[], &[("CLAWRK_HOLDSECONDS", "5"), ("CLAWRK_API_KEY", "x")], "")).unwrap();
        assert_eq!(settings.warnings.len(), 1);
    }

    #[test]
    fn values_out_of_bounds_say_what_they_must_be() {
        for (name, value) in [
            ("hold_seconds", "0"),
            ("fee_bps", "10001"),
            ("listen", "3000"),
            ("log_format", "xml"),
            ("sandbox", "none"),
            ("rate_limit_per_minute", "-1"),
            ("database_url", "mysql://"),
            ("secret_key", "guessable"),
        ] {
            let settings = Settings::read(&sources(&[(name, value)], &[], "")).unwrap();
            let error = settings.config().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} must be ")), "{error}");
        }
    }

    #[test]
    fn a_container_needs_an_image_whose_name_is_no_flag() {
        let read = |image: &str| {
            let flags = [("sandbox", "container"), ("sandbox_image", image)];
            Settings::read(&sources(&flags, &[], "")).unwrap().config().map(|config| config.sandbox)
        };
        let image = "registry.example:5000/checks/python@sha256:0123";
        assert_eq!(read(image).unwrap(), SandboxSetting::Container { image: image.to_owned() });
        for image in ["", "--privileged", "python --privileged", "python\n"] {
            let error = read(image).unwrap_err().to_string();
            assert!(error.starts_with("sandbox_image must be the name of an image"), "{error}");
        }
    }

    #[test]
    fn secrets_come_from_files_and_are_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "a secret of thirty-two characters\n").unwrap();
        let settings =
            Settings::read(&sources(&[], &[("CLAWRK_SECRET_KEY_FILE", path.to_str().unwrap())], "")).unwrap();
        assert_eq!(settings.config().unwrap().secret_key.as_deref(), Some("a secret of thirty-two characters"));
        let key = KEYS.iter().find(|key| key.name == "secret_key").unwrap();
        assert_eq!(settings.shown(key), "********");
    }
}
