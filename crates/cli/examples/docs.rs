//! Writes the pages of the documentation that come from the code: path.md, causes.md, cli.md.
//!
//! `cargo run -p transect-cli --example docs -- FOLDER`; `make docs` does it, `make lint` checks that nothing has drifted.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: docs FOLDER");
        return ExitCode::from(2);
    };
    let pages = [
        ("path.md", transect_report::map().markdown()),
        ("causes.md", transect_report::catalogue_markdown()),
        ("cli.md", transect_cli::command_line_markdown()),
    ];
    for (name, text) in pages {
        let path = folder.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            eprintln!("writing {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
