//! `config`: every setting of the server, as it would be used now.

use clap::Args;
use clawrk_server::config::{KEYS, Source};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Cell, Output, Table, Tone, left, wide};
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
            let value = json!({"key": key.name, "value": settings.shown(key), "default": key.default, "meaning": key.meaning,
                "source": settings.source(key.name).to_string(), "in_effect": !key.later});
            value
        });
        out.document(&Value::Array(keys.collect()));
    } else {
        let mut table = Table::new(&[left("key"), left("value"), left("from"), wide("meaning")]);
        for key in &KEYS {
            let source = settings.source(key.name);
            let tone = if source == Source::Default { Tone::Quiet } else { Tone::Strong };
            let meaning = if key.later { format!("(later) {}", key.meaning) } else { key.meaning.to_owned() };
            table.row([
                Cell::new(key.name),
                Cell::toned(settings.shown(key), tone),
                Cell::new(source.to_string()),
                Cell::new(meaning),
            ]);
        }
        out.table(&table);
        settings.warnings.iter().for_each(|warning| out.note(warning));
    }
    used(&settings).map(|_| ())
}
