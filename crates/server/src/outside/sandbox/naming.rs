//! A job chooses the names of its variables, and some names steer whatever is started with them: a loader, a shell, an
//! engine's client. On their way values have names of ours, and a shell inside, behind every limit, gives them theirs.

use std::collections::BTreeMap;

use clawrk_domain::limits;

use super::SandboxError;

/// What values are called on their way, with a number behind it.
pub(super) use clawrk_domain::limits::VALUE_NAME as VALUE;

/// Refuses variables that a shell would not set: their command would seem to fail.
pub(super) fn may_be_set(env: &BTreeMap<String, String>) -> Result<(), SandboxError> {
    let refused = env.keys().find(|name| limits::is_kept(name) || !limits::is_variable(name));
    refused.map_or(Ok(()), |name| Err(SandboxError::Kept(name.clone())))
}

/// For the first shell: gives the values their names, in this order, and becomes the shell of the command.
pub(super) fn naming<'n>(names: impl Iterator<Item = &'n String>) -> String {
    let mut script = String::new();
    for (number, name) in names.enumerate() {
        script.push_str(&format!("{name}=\"${VALUE}{number}\"; export {name}; unset {VALUE}{number}\n"));
    }
    script.push_str("exec /bin/sh -c \"$1\"");
    script
}
