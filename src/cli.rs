//! What the command lines of `rebootd` and `rebootctl` share.

use std::path::PathBuf;

use clap::Args;

use crate::config::DEFAULT_DIRECTORIES;

/// Where the configuration is.
#[derive(Debug, Clone, PartialEq, Args)]
pub(crate) struct ConfigDirectories {
    /// Read config.toml and config.d/*.toml of this directory; of several, later ones win
    #[arg(
        long = "config-dir",
        value_name = "DIR",
        default_values = DEFAULT_DIRECTORIES,
        value_parser = parse_directory
    )]
    pub(crate) directories: Vec<PathBuf>,
}

/// One line for people, short enough for a status line.
pub(crate) fn parse_reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why, in a few words".to_owned()),
        text if text.chars().any(char::is_control) || text.chars().count() > 160 => {
            Err("one line of at most 160 characters".to_owned())
        }
        text => Ok(text.to_owned()),
    }
}

/// A missing default directory means defaults; a missing directory that was named is a mistake.
fn parse_directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_dir() || DEFAULT_DIRECTORIES.contains(&text) {
        return Ok(path);
    }
    Err("there is no such directory".to_owned())
}

/// The manual pages and shell completions in `packaging/` are written by hand: checks that they, and this manual
/// page, contain each subcommand and option.
#[cfg(test)]
pub(crate) fn check_documented(command: clap::Command, manual: &str) {
    let bash = include_str!("../packaging/usr/share/bash-completion/completions/rebootd");
    let zsh = include_str!("../packaging/usr/share/zsh/vendor-completions/_rebootd");
    // A manual page escapes hyphens so that they can be copied.
    let manual = manual.replace("\\-", "-");
    for word in words(&command) {
        for (place, text) in [("bash", bash), ("zsh", zsh), ("manual", &manual)] {
            assert!(text.contains(&word), "{word} is missing in {place}");
        }
    }
    command.debug_assert();
}

#[cfg(test)]
fn words(command: &clap::Command) -> Vec<String> {
    let mut words = Vec::new();
    for subcommand in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        words.push(subcommand.get_name().to_owned());
        words.extend(self::words(subcommand));
        let shown = subcommand.get_arguments().filter(|it| !it.is_hide_set());
        let options = shown.filter_map(clap::Arg::get_long);
        words.extend(options.map(|option| format!("--{option}")));
    }
    words
}
