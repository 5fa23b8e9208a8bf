//! The server's settings as flags: made from the server's own table, so that the two can't differ.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use clawrk_server::config::{Config, Embedding, KEYS, Settings, Sources};

use crate::failure::Failure;

/// The flags that were given, by the key's name.
#[derive(Debug, Clone, Default)]
pub(crate) struct SettingFlags {
    given: Vec<(String, String)>,
    file: Option<PathBuf>,
}

/// The file that is read when it is there and none is named.
const FILE: &str = "clawrk.toml";

impl SettingFlags {
    /// Reads flags, environment and file.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let path = self.file.clone().unwrap_or_else(|| PathBuf::from(FILE));
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.file.is_none() => None,
            Err(error) => return Err(Failure::usage(format!("{} cannot be read: {error}", path.display()))),
        };
        let sources = Sources { flags: self.given.clone(), variables: environment(), file };
        Settings::read(&sources).map_err(|error| Failure::usage(error.to_string()))
    }

    /// The settings as the server uses them.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        used(&self.settings()?)
    }
}

#[expect(clippy::disallowed_methods, reason = "the server's settings come from the environment here and nowhere else")]
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// The settings as the server uses them; wrong ones are wrong use.
pub(crate) fn used(settings: &Settings) -> Result<Config, Failure> {
    settings.config().map_err(|error| Failure::usage(error.to_string()).hint("`clawrk config` shows every setting"))
}

/// The embedding model that these flags name, for a command that needs no other setting; its key comes from the environment.
pub(crate) fn embedding(flags: Vec<(String, String)>) -> Result<Option<Embedding>, Failure> {
    let is_asked = flags.iter().any(|(name, _)| name == "embed_url");
    let is_key = |(name, _): &(String, String)| is_asked && name.starts_with("CLAWRK_EMBED_API_KEY");
    let sources = Sources { flags, variables: environment().into_iter().filter(is_key).collect(), file: None };
    let settings = Settings::read(&sources).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(used(&settings)?.embedding)
}

/// What is logged: `CLAWRK_LOG`, such as `debug` or `clawrk_server=debug`; `info` without the migrations' small talk if it says nothing.
pub(crate) fn log_filter() -> String {
    let given = environment().into_iter().find(|(name, _)| name == "CLAWRK_LOG");
    given.map_or_else(|| "info,refinery_core=warn,tokio_postgres=warn".to_owned(), |(_, value)| value)
}

/// A flag for a key, or for a file with a secret.
struct Flag {
    name: String,
    help: String,
}

/// Every flag.
fn flags() -> impl Iterator<Item = Flag> {
    KEYS.iter().flat_map(|key| {
        let default = if key.default.is_empty() { String::new() } else { format!(" [default: {}]", key.default) };
        let flag = Flag { name: key.name.to_owned(), help: format!("{}{default}", key.meaning) };
        let of_file = key
            .secret
            .then(|| Flag { name: format!("{}_file", key.name), help: format!("A file with the {}", key.name) });
        std::iter::once(flag).chain(of_file)
    })
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let command = flags().fold(command, |command, flag| {
            let arg = Arg::new(flag.name.clone())
                .long(flag.name.replace('_', "-"))
                .value_name("VALUE")
                .allow_negative_numbers(true);
            command.arg(arg.help(flag.help).help_heading("Settings"))
        });
        let config = Arg::new("config").long("config").value_name("FILE").help_heading("Settings");
        command.arg(config.help("Read settings from this file [default: clawrk.toml, if it is there]"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = flags()
            .filter_map(|flag| matches.get_one::<String>(&flag.name).map(|value| (flag.name.clone(), value.clone())));
        Ok(Self { given: given.collect(), file: matches.get_one::<String>("config").map(PathBuf::from) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
