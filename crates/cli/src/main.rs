//! The `transect` command: see the library of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    transect_cli::main()
}
