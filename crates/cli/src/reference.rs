//! The reference of the command line as a page of the documentation (`docs/cli.md`).

use std::fmt::Write as _;

use clap::CommandFactory;

use crate::args::Cli;

/// The page: each command's `--help`. Made by `make docs`, checked for drift by `make lint`.
pub fn command_line_markdown() -> String {
    let mut out = String::from(
        "<!-- Made by `make docs` from crates/cli. Do not edit. -->\n# The command line\n\n\
         Results go to standard output, progress and logs to standard error.\n",
    );
    let mut root = Cli::command().term_width(100);
    root.build();
    section(&mut out, &mut root, "transect");
    out
}

fn section(out: &mut String, command: &mut clap::Command, name: &str) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "\n## {name}\n\n```text\n{}\n```\n",
        help.join("\n").trim_end()
    );
    for sub in command.get_subcommands_mut() {
        let name = format!("{name} {}", sub.get_name());
        section(out, sub, &name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_section() {
        let page = command_line_markdown();
        for command in [
            "why", "collect", "explain", "host", "lab", "lab list", "lab run", "drill", "map",
            "doctor",
        ] {
            assert!(
                page.contains(&format!("\n## transect {command}\n")),
                "{command}"
            );
        }
    }
}
