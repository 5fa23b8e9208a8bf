//! `serve`: an exchange in the foreground, until it is asked to stop.

use anyhow::Context;
use clap::Args;
use clawrk_server::config::Config;
use clawrk_server::open::{self, OpenError};
use clawrk_server::{App, serve, telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::environment::program;
use crate::failure::Failure;
use crate::server_settings::{SettingFlags, used};

/// Flags of `serve`: the server's settings.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    settings: SettingFlags,
}

/// Opens the exchange, listens, and serves until SIGTERM or Ctrl-C; then finishes what is in hand.
pub(crate) async fn run(args: &ServeArgs) -> Result<(), Failure> {
    let settings = args.settings.settings()?;
    let config = used(&settings)?;
    let _log = telemetry::log(config.log_format, &crate::server_settings::log_filter());
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let claim = open::claim(&config).map_err(anyhow::Error::from)?;
    let app = clawrk_server::open(&config).await.map_err(|error| match error {
        OpenError::SecretMissing => Failure::usage(error.to_string()),
        error => anyhow::Error::from(error).into(),
    })?;
    if claim.is_some() {
        // Whoever had a task of this folder in hand is gone: nobody waits until that shows.
        app.store.end_leases().await.map_err(anyhow::Error::from)?;
    }
    Ok(serve_until_stopped(app, &config).await?)
}

async fn serve_until_stopped(app: App, config: &Config) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("{} cannot be listened on: choose another with --listen", config.listen))?;
    let address = listener.local_addr()?;
    tracing::info!("clawrk {} listens on http://{address}, {}", env!("CARGO_PKG_VERSION"), kept_in(config));
    if !app.store.has_users().await? {
        tracing::info!(
            "nobody is here yet: `{} admin user create --name YOU --grant-cents 2000` makes a user and a key",
            program()
        );
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve::prepare(&app);
    serve::serve(app, listener, stop).await?;
    tracing::info!("stopped");
    Ok(())
}

fn kept_in(config: &Config) -> String {
    match &config.database_url {
        Some(_) => "on PostgreSQL".to_owned(),
        None => format!("on SQLite in {}", config.data_dir.display()),
    }
}
