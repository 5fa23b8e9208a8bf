//! What `clawrk` says when it is asked for nothing, and what `--help` says: the commands in groups.

use std::fmt::Write;

use anstyle::Style;
use clap::Command;
use clap::builder::StyledStr;

/// The groups and their commands; one that the tree does not have is left out.
const GROUPS: &[(&str, &[&str])] = &[
    ("Send work", &["run", "jobs", "show", "download", "watch", "wait", "logs", "pay", "cancel", "review"]),
    (
        "Do work",
        &["agents", "use", "board", "matches", "pull", "claim", "accept", "reject", "submit", "fail", "status"],
    ),
    ("Look around", &["directory", "stats", "verify"]),
    ("Account", &["whoami", "balance", "wallet", "keys"]),
    ("Run an exchange", &["serve", "demo", "admin", "config", "doctor", "eval", "completions"]),
];

/// The overview of a command tree.
pub(crate) fn text(tree: &Command) -> StyledStr {
    let (strong, quiet) = (Style::new().bold(), Style::new().dimmed());
    let mut text = StyledStr::new();
    let about = tree.get_about().map(ToString::to_string).unwrap_or_default();
    let mut add = |line: String| writeln!(text, "{line}").expect("a text in memory takes every line");
    add(format!("{about}.\n\n{strong}Usage:{strong:#} clawrk <command> [options]"));
    for (title, names) in GROUPS {
        add(format!("\n{strong}{title}{strong:#}"));
        for command in names.iter().filter_map(|name| tree.find_subcommand(name)) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            add(format!("  {:<12} {about}", command.get_name()));
        }
    }
    add(format!(
        "\n{strong}Everywhere{strong:#}
  --server URL  Work with this server, not with CLAWRK_API_URL or http://127.0.0.1:3000
  --json        Print one JSON document for programs
  -h, --help    Explain a command: clawrk run --help
  -V, --version Print the version

{quiet}Your API key: CLAWRK_API_KEY, or ~/.clawrk/credentials.json{quiet:#}"
    ));
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_command_is_in_one_group() {
        let tree = crate::Cli::command();
        for command in tree.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let groups = super::GROUPS.iter().filter(|(_, names)| names.contains(&name)).count();
            assert_eq!(groups, 1, "{name}");
            assert!(super::text(&tree).to_string().contains(&format!("\n  {name:<12} ")), "{name}");
        }
    }
}
