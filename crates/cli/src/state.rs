//! What is remembered between commands: the current agent, per server and user.
//!
//! Kept in `state.json` in our own folder, mode 0600, replaced as a whole so that a reader sees the
//! old file or the new one.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::environment;
use crate::failure::Failure;
use crate::settings::Settings;

/// An agent that was chosen with `use`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CurrentAgent {
    /// The agent's id.
    pub(crate) id: String,
    /// Its name when it was chosen.
    pub(crate) name: String,
}

/// The state file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// By `<server> <user id>`, so that accounts do not mix.
    #[serde(default)]
    current_agents: BTreeMap<String, CurrentAgent>,
}

impl State {
    /// Reads the state; empty when nothing was remembered yet.
    pub(crate) fn load(settings: &Settings) -> Result<Self, Failure> {
        let Some(path) = path(settings) else { return Ok(Self::default()) };
        let broken = |problem: String| {
            Failure::failed("state_unreadable", format!("{} cannot be read: {problem}", path.display()))
                .hint("delete it; it only remembers your current agent")
        };
        match std::fs::read(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Self::default()),
            Err(error) => Err(broken(error.to_string())),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string())),
        }
    }

    /// Whether any agent was chosen at this server.
    pub(crate) fn knows(&self, settings: &Settings) -> bool {
        let prefix = format!("{} ", settings.server);
        self.current_agents.keys().any(|key| key.starts_with(&prefix))
    }

    /// The agent that the user chose at this server.
    pub(crate) fn agent(&self, settings: &Settings, user: &str) -> Option<&CurrentAgent> {
        self.current_agents.get(&account(settings, user))
    }

    /// Remembers the user's choice; none goes back to the default agent.
    pub(crate) fn choose(&mut self, settings: &Settings, user: &str, agent: Option<CurrentAgent>) {
        let account = account(settings, user);
        match agent {
            Some(agent) => self.current_agents.insert(account, agent),
            None => self.current_agents.remove(&account),
        };
    }

    /// Writes the state down.
    pub(crate) fn save(&self, settings: &Settings) -> Result<(), Failure> {
        let path = path(settings).ok_or_else(|| {
            Failure::failed("no_home", "There is no home folder to remember this in")
                .hint("set CLAWRK_HOME to a folder")
        })?;
        let text = serde_json::to_vec_pretty(self).expect("texts are JSON");
        replace(&path, &text).map_err(|error| {
            Failure::failed("state_unwritable", format!("{} cannot be written: {error}", path.display()))
        })
    }
}

fn path(settings: &Settings) -> Option<PathBuf> {
    Some(settings.folder.as_ref()?.join("state.json"))
}

fn account(settings: &Settings, user: &str) -> String {
    format!("{} {user}", settings.server)
}

/// Puts the bytes in the file's place in one step.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().ok_or(ErrorKind::NotFound)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = folder.join(format!(".state.{}", environment::random_name()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let done = written.and_then(|()| std::fs::rename(&fresh, path));
    if done.is_err() {
        // The error that counts is the one before; what could not be made can't be removed either.
        let _ = std::fs::remove_file(&fresh);
    }
    done
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::environment::Environment;

    fn settings(folder: &Path, server: &str) -> Settings {
        let environment = Environment { folder: Some(folder.to_owned()), ..Environment::default() };
        Settings::discover(Some(server), &environment).unwrap()
    }

    fn agent(name: &str) -> CurrentAgent {
        CurrentAgent { id: format!("id-of-{name}"), name: name.into() }
    }

    #[test]
    fn each_account_has_its_own_agent() {
        let home = tempfile::tempdir().unwrap();
        let (here, there) =
            (settings(home.path(), "http://here.example"), settings(home.path(), "http://there.example"));
        let mut state = State::load(&here).unwrap();
        state.choose(&here, "ada", Some(agent("poet")));
        state.choose(&there, "ada", Some(agent("clerk")));
        state.save(&here).unwrap();
        let mut state = State::load(&here).unwrap();
        assert_eq!(state.agent(&here, "ada"), Some(&agent("poet")));
        assert_eq!(state.agent(&there, "ada"), Some(&agent("clerk")));
        assert_eq!(state.agent(&here, "bob"), None);
        state.choose(&here, "ada", None);
        assert!(!state.knows(&here) && state.knows(&there));
    }

    #[test]
    fn only_the_owner_can_read_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("new");
        let settings = settings(&folder, "http://here.example");
        State::default().save(&settings).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("state.json"))), (0o700, 0o600));
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
        assert_eq!(files.len(), 1, "no temporary file stays behind");
    }

    #[test]
    fn a_broken_file_is_told_and_not_overwritten() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("state.json"), "{").unwrap();
        let failure = State::load(&settings(home.path(), "http://here.example")).err().unwrap();
        assert_eq!(&*failure.code, "state_unreadable");
    }
}
