//! `config`: every setting of the server, as it would be used now.

use clap::Args;
use clawrk_server::config::{KEYS, Source};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Output, Tone};
use crate::server_settings::{SettingFlags, used};

/// Flags of `config`: the server's settings.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    settings: SettingFlags,
}

/// Prints every key with its value, where that came from, and what it means; secrets are masked.
pub(crate) fn run(args: &ConfigArgs, out: &Output) -> Result<(), Failure> {
    let settings = args.settings.settings()?;
    if out.is_json() {
        let keys = KEYS.iter().map(|key| {
            json!({"key": key.name, "value": settings.shown(key), "default": key.default, "meaning": key.meaning,
                "source": settings.source(key.name).to_string()})
        });
        out.document(&Value::Array(keys.collect()));
    } else {
        for key in &KEYS {
            let source = settings.source(key.name);
            let tone = if source == Source::Default { Tone::Plain } else { Tone::Good };
            let value = Some(settings.shown(key)).filter(|value| !value.is_empty()).unwrap_or_else(|| "-".to_owned());
            let origin = format!("  ({source})");
            out.line(&[(key.name, Tone::Strong), ("  ", Tone::Plain), (&value, tone), (&origin, Tone::Quiet)]);
            out.line(&[("    ", Tone::Plain), (key.meaning, Tone::Plain)]);
        }
        settings.warnings.iter().for_each(|warning| out.note(warning));
    }
    used(&settings).map(|_| ())
}
